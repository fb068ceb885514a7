"""What a reminder says."""

from dataclasses import dataclass

from atlas.errors import SettingsError
from atlas.project import Project


@dataclass(frozen=True)
class Message:
    """One reminder, for every channel.

    Attributes:
        number: of its row; the same when it is delivered again.
        project: the project's name.
        waiting: images that wait, 1 or more.
        link: where to label them.
    """

    number: int
    project: str
    waiting: int
    link: str

    @property
    def subject(self) -> str:
        """Such as "4 images are waiting: garments"."""
        return f"{waiting_images(self.waiting)}: {self.project}"

    @property
    def text(self) -> str:
        """Such as "4 images are waiting to be labelled in garments: http://…"."""
        return f"{waiting_images(self.waiting)} to be labelled in {self.project}: {self.link}"


def waiting_images(count: int) -> str:
    """Such as "1 image is waiting" or "4 images are waiting"."""
    return f"{count} image is waiting" if count == 1 else f"{count} images are waiting"


def link_of(project: Project) -> str:
    """Where annotators go: `reminders.link`, or the labelling page of Label Studio.

    Raises:
        OracleError: Label Studio does not answer, or has no project of ours.
        SettingsError: a link that is no address.
    """
    link = project.settings.reminders.link
    if link:
        if not link.startswith(("http://", "https://")):
            raise SettingsError(f"reminders.link is {link!r}; it begins with http:// or https://")
        return link
    from atlas.oracle.label_studio import LabelStudioOracle  # a second to import

    return LabelStudioOracle(project).labelling_url()
