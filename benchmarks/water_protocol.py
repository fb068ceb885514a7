"""The four-week home protocol over many homes: the default sampler against random.

    python benchmarks/water_protocol.py --out DIR --homes 24 --write

Homes, their events and finished runs are files in --out: a stopped benchmark goes on where it was.
--role development runs the homes that everything was tuned on instead; --step and --floor try other
values than those fixed. --write puts the tables into docs/benchmarks/.
"""

import argparse
from collections.abc import Sequence
import json
from pathlib import Path
from typing import Any

from atlas.backbone import Backbone
from atlas.cli.output import progress_bar
from atlas.demo.protocol_homes import Hardness
from atlas.demo.protocol_run import HARDNESS, Library, arms, run_protocol
from atlas.demo.protocol_table import COLUMNS, differences, markdown, rows, summary
from atlas.demo.spectrogram import LEVELS
from atlas.settings import ShowingSettings
from services.demo import demo_backbone

DOCS = Path(__file__).parent.parent / "docs" / "benchmarks"
PAIRS = (
    ("default, other homes", "random, other homes"),
    ("default, from nothing", "random, from nothing"),
    ("default, other homes", "default, from nothing"),
)


def report(content: dict[str, Any]) -> str:
    """The tables in markdown."""
    hardness = content["hardness"]
    found = [
        [name, str(week["week"]), f"{week['kept'][0]} of {week['kept'][1]}"]
        for name, weeks in summary(content)["arms"].items()
        for week in weeks
    ]
    compared = [line for pair in PAIRS for line in differences(content, *pair)]
    return "\n".join(
        [
            f"{content['homes']} {content['role']} homes, hardness step {hardness['step']} (noise "
            f"× {hardness['noise']:g}, another valve in {hardness['overlap']:.0%} of events), "
            f"floor {content['floor']:g}, target {content['target']:g}. Accuracy on "
            "held-out events: mean over homes ± half of its 95% t interval. Levels and events "
            "shown: share at category / fixture / valve.\n",
            markdown(COLUMNS, rows(content)) + "\n",
            "Differences in the same homes, points:\n",
            markdown(("arms", "week", *LEVELS), compared) + "\n",
            "Levels that a home was shown whose accuracy on held-out events is above the floor:\n",
            markdown(("arm", "week", "kept"), found) + "\n",
        ]
    )


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--homes", type=int, default=24)
    parser.add_argument("--role", choices=("evaluation", "development"), default="evaluation")
    parser.add_argument("--step", type=int, default=HARDNESS.step)
    parser.add_argument("--floor", type=float, default=ShowingSettings().floor)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks")
    arguments = parser.parse_args(argv)
    embed = Backbone(demo_backbone()).embed
    library = Library(embed, Hardness(arguments.step), arguments.out)
    with progress_bar("other homes", unit="homes") as listening:
        lessons = library.lessons(progress=listening)
    ways = arms(lessons, ShowingSettings(floor=arguments.floor))
    with progress_bar("four weeks", unit="homes") as living:
        content = run_protocol(
            library, ways, role=arguments.role, homes=arguments.homes, progress=living
        )
    found = arguments.out / f"{arguments.role}-step{arguments.step}.json"
    found.write_text(json.dumps(content), encoding="utf-8")
    text = report(content)
    print(text)
    if arguments.write:
        table = DOCS / f"water_protocol_step{arguments.step}.md"
        table.write_text(f"# The four-week home protocol: figures\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
