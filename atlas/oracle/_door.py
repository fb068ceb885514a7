"""Where annotators go in: a page on Label Studio's own origin that opens its labelling stream.

A browser that comes by a link follows the tab it lands in: no locks, and two people get the same
picture. Its button "Label All Tasks" remembers another way in the browser, which only a page of
the same origin can do. So Label Studio serves one, from where it serves pictures.
"""

from importlib.resources import files
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined

from atlas.oracle._pictures import pictures
from atlas.project import Project

TEMPLATE = "label_studio/start.html"
NAME = "start.html"


def write_door(project: Project, ls_project_id: int) -> None:
    """Put the page among the pictures that Label Studio serves."""
    source = files("frontend_config").joinpath(TEMPLATE).read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(source)
    page = template.render(path=f"/projects/{ls_project_id}/data?labeling=1")
    target = pictures(project) / NAME
    part = target.with_suffix(".part")
    part.write_text(page, encoding="utf-8")
    part.replace(target)


def door(project: Project, url: str, ls_project_id: int) -> str:
    """The address where an annotator starts: the login first, where there is none yet.

    Where Label Studio cannot serve files from this machine, its page with the button.

    Args:
        project: whose pictures it serves.
        url: Label Studio's.
        ls_project_id: the project's id there.
    """
    base = url.rstrip("/")
    if project.settings.label_studio.images == "inline":
        return f"{base}/projects/{ls_project_id}/data"
    page = f"/data/local-files/?d={pictures(project).name}/{NAME}"
    return f"{base}/user/login/?next={quote(page, safe='')}"
