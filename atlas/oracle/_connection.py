"""Which Label Studio a project talks to."""

from dataclasses import dataclass
import json

from atlas.errors import OracleUnreachable, SettingsError
from atlas.project import Project

RUN_FILE = "label-studio.json"


@dataclass(frozen=True)
class Connection:
    """An address and a token; `managed` where `atlas up` started the server."""

    url: str
    token: str
    managed: bool

    def __repr__(self) -> str:
        return f"Connection(url={self.url!r}, token=…, managed={self.managed})"


def connection(project: Project) -> Connection:
    """The server of `label_studio.url`, else the one that `atlas up` runs.

    Raises:
        SettingsError: an external server without a token.
        OracleUnreachable: no external server, and none is running.
    """
    settings = project.settings.label_studio
    if settings.url:
        if not settings.token:
            raise SettingsError(
                f"label_studio.url is {settings.url} but label_studio.token is empty; "
                "copy a token from its Account & Settings page"
            )
        return Connection(settings.url, settings.token, managed=False)
    path = project.run / RUN_FILE
    if not path.is_file():
        raise OracleUnreachable(
            f"no Label Studio is running for {project.directory}; start it with "
            f"`atlas up {project.directory}`, or set label_studio.url and label_studio.token"
        )
    url = json.loads(path.read_text(encoding="utf-8"))["url"]
    return Connection(url, project.secret("label_studio_token"), managed=True)
