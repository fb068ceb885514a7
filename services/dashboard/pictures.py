"""Pictures of the pool on a page, and where their task can be opened."""

from dataclasses import dataclass

from atlas.project import Project
from services.addresses import tasks_url
from services.signed_links import signed_path


@dataclass(frozen=True)
class Gallery:
    """Links that a template asks for by image id."""

    project: Project
    tasks_at: str

    def picture(self, image_id: str) -> str:
        """A small picture."""
        return signed_path(self.project, image_id, side=160)

    def large(self, image_id: str) -> str:
        """One to look at closely."""
        return signed_path(self.project, image_id, side=1024)

    def task(self, task_id: str | None) -> str:
        """Where Label Studio opens a task; "" where it cannot."""
        return f"{self.tasks_at}?task={task_id}" if self.tasks_at and task_id else ""


def gallery(project: Project) -> Gallery:
    """Of a project as it is now."""
    return Gallery(project, tasks_url(project))


def short_names(classes: tuple[str, ...]) -> list[str]:
    """The last part of each path, or all of it where two classes end alike."""
    last = [name.rpartition("/")[2] for name in classes]
    return [
        part if last.count(part) == 1 else name.replace("/", " / ")
        for part, name in zip(last, classes, strict=True)
    ]
