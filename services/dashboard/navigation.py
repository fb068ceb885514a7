"""The way between the pages; a page that is not listed here is not reached."""

from dataclasses import dataclass

from atlas.project import Project


@dataclass(frozen=True)
class Entry:
    """A link to a page. In `path`, "{level}" stands for the finest level."""

    title: str
    path: str
    is_here: bool = False


PAGES = (
    Entry("Overview", "/"),
    Entry("Level", "/levels/{level}"),
    Entry("Queue", "/queue"),
    Entry("Map", "/map"),
    Entry("Models", "/models"),
    Entry("Schedule", "/schedule"),
    Entry("Jobs", "/jobs"),
    Entry("Annotators", "/annotators"),
)


def navigation(project: Project, here: str) -> list[Entry]:
    """Every page; `is_here` marks the one at the path `here`, whatever level it shows."""
    finest = project.taxonomy.levels[-1]
    return [
        Entry(page.title, page.path.format(level=finest), _first(page.path) == _first(here))
        for page in PAGES
    ]


def _first(path: str) -> str:
    """The first part of a path."""
    return path.lstrip("/").partition("/")[0]
