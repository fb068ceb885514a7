"""Where people and Label Studio's webhook go."""

from atlas.oracle._door import door
from atlas.project import Project
from atlas.store.tables import Meta
from services.run_files import read_state
from services.steps import ORACLE_PROJECT

LABEL_PATH = "/label"
WEBHOOK_PATH = "/label-studio/webhook"
WEBHOOK_SECRET = "webhook_secret"


def labelling_url(project: Project) -> str:
    """Where annotators start (see `atlas.oracle._door`); "" before Label Studio is set up."""
    where = _label_studio(project)
    return "" if where is None else door(project, *where)


def tasks_url(project: Project) -> str:
    """Where single tasks can be opened, outside the queue; "" before Label Studio is set up."""
    where = _label_studio(project)
    return "" if where is None else f"{where[0].rstrip('/')}/projects/{where[1]}/data"


def _label_studio(project: Project) -> tuple[str, int] | None:
    """The address that browsers reach it by, and the number of its project."""
    with project.database.reader() as session:
        number = session.get(Meta, ORACLE_PROJECT)
    settings = project.settings.label_studio
    address = settings.public_url or settings.url or read_state(project, "label-studio").get("url")
    return None if number is None or not address else (str(address), int(number.value))
