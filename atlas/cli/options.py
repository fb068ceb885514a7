"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

from atlas.errors import SettingsError
from atlas.settings import BackboneSettings

Directory = Annotated[Path, typer.Argument(help="The project folder.", show_default=False)]
Images = Annotated[
    Path,
    typer.Option(
        help="A folder, a zip (or a.zip/folder in it), or a CSV/JSONL manifest with a "
        "`path` or `url` column.",
        show_default=False,
    ),
]
Truth = Annotated[
    str,
    typer.Option(
        help="Where the true labels are: `folders` (nested folders are the hierarchy) "
        "or `manifest` (its columns `label` and one an attribute or quantity)."
    ),
]
TaxonomyFile = Annotated[
    Path | None,
    typer.Option("--taxonomy", help="A YAML or JSON file: levels, tree, attributes, quantities."),
]
BackboneName = Annotated[
    str, typer.Option("--backbone", help="A timm model; its pretrained weights come from the hub.")
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(help="Local weights instead: safetensors, pth or a hub-layout folder."),
]
Arch = Annotated[str, typer.Option(help="The timm architecture of --checkpoint.")]
ImageSize = Annotated[int, typer.Option(help="Side in pixels that the network sees; 0: its own.")]
Seed = Annotated[int, typer.Option(help="Makes every draw repeatable.", min=0)]
AuditSize = Annotated[
    int, typer.Option(help="Images set apart, uniformly at random, to measure on.", min=0)
]


def backbone_settings(
    name: str, checkpoint: Path | None, arch: str, image_size: int
) -> BackboneSettings:
    """The backbone that the options name.

    Raises:
        SettingsError: both kinds of weights, or half of one kind.
    """
    if checkpoint is None:
        if arch:
            raise SettingsError(
                "--arch goes with --checkpoint; with the hub's weights use --backbone"
            )
        chosen = {"name": name} if name else {}
        return BackboneSettings(**chosen, image_size=image_size)
    if name:
        raise SettingsError("give --backbone (weights from the hub) or --checkpoint, not both")
    if not arch:
        raise SettingsError("--checkpoint needs --arch, the timm architecture it was trained with")
    path = str(checkpoint.expanduser().resolve())
    return BackboneSettings(name=arch, checkpoint=path, image_size=image_size)


def check_truth(truth: str) -> str:
    """One of "", "folders", "manifest".

    Raises:
        SettingsError: anything else.
    """
    if truth not in ("", "folders", "manifest"):
        raise SettingsError(f"--truth {truth!r}: expected folders or manifest")
    return truth
