"""Makes a project: taxonomy, folder, images; all of it or nothing."""

from dataclasses import dataclass
from pathlib import Path

from atlas.backbone import Backbone
from atlas.errors import TaxonomyError
from atlas.images import find_images
from atlas.pool import IngestReport, Progress, ingest, truth_of
from atlas.project import TAXONOMY_FILE, Project
from atlas.settings import Settings
from atlas.settings_file import SETTINGS_FILE
from atlas.taxonomy import Taxonomy, from_paths
from atlas.taxonomy_file import load_taxonomy
from atlas.types import LABEL


@dataclass(frozen=True)
class Source:
    """Where images, truth and taxonomy come from; "" and None mean unknown."""

    images: Path
    truth: str = ""
    taxonomy: Path | None = None


def make_project(
    directory: Path, settings: Settings, source: Source, *, progress: Progress | None = None
) -> tuple[Project, IngestReport]:
    """Make a project folder and ingest its images. A failure leaves the folder as it was.

    The backbone is loaded once, so that missing weights are found now and not in the night.

    Raises:
        AtlasError: from the taxonomy, the backbone or the images.
    """
    taxonomy = find_taxonomy(source)
    Backbone(settings.backbone)
    pool = settings.pool.model_copy(
        update={"images": str(source.images.resolve()), "truth": source.truth}
    )
    existed = directory.exists()
    project = Project.create(directory, settings.model_copy(update={"pool": pool}), taxonomy)
    try:
        report = ingest(project, source.images, truth=source.truth, progress=progress)
    except BaseException:
        project.database.engine.dispose()
        for name in (SETTINGS_FILE, TAXONOMY_FILE, "atlas.db", "atlas.db-wal", "atlas.db-shm"):
            (directory / name).unlink(missing_ok=True)
        if not existed:
            directory.rmdir()
        raise
    return project, report


def find_taxonomy(source: Source) -> Taxonomy:
    """The taxonomy file, or the classes that the truth of the images names.

    Raises:
        TaxonomyError: neither is there.
    """
    if source.taxonomy is not None:
        return load_taxonomy(source.taxonomy)
    if not source.truth:
        raise TaxonomyError(
            "no taxonomy: give --taxonomy FILE, or --truth folders where nested folders are it"
        )
    found = (truth_of(one, source.truth).get(LABEL) for one in find_images(source.images))
    return from_paths(str(label) for label in found if label)
