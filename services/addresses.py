"""Where people and Label Studio's webhook go."""

from atlas.project import Project
from atlas.store.tables import Meta
from services.run_files import read_state
from services.steps import ORACLE_PROJECT

WEBHOOK_PATH = "/label-studio/webhook"
WEBHOOK_SECRET = "webhook_secret"


def labelling_url(project: Project) -> str:
    """Where people label; "" before Label Studio is set up."""
    with project.database.reader() as session:
        number = session.get(Meta, ORACLE_PROJECT)
    address = project.settings.label_studio.url or read_state(project, "label-studio").get("url")
    if number is None or not address:
        return ""
    return f"{address.rstrip('/')}/projects/{number.value}/data"
