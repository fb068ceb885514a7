"""`/label`: the one address for annotators."""

from pathlib import Path

from fastapi.testclient import TestClient

from atlas.oracle._door import write_door
from atlas.oracle._pictures import pictures
from atlas.project import Project
from atlas.settings import LabelStudioSettings, Settings
from atlas.store.tables import Meta
from atlas.taxonomy import Taxonomy
from services.api import create_app
from services.steps import ORACLE_PROJECT

TREE = Taxonomy(("kind", "species"), ("pet/cat", "pet/dog", "rock"), {})
URL = "http://labels.example:8080"


def project_at(directory: Path, images: str = "local-files") -> Project:
    settings = Settings(label_studio=LabelStudioSettings(url=URL + "/", token="t", images=images))
    return Project.create(directory / images, settings, TREE)


def visit(project: Project) -> tuple[int, str]:
    app = TestClient(create_app(project.directory), base_url="http://127.0.0.1")
    answer = app.get("/label", follow_redirects=False)
    return answer.status_code, answer.headers.get("location", answer.text)


def test_it_leads_to_the_page_that_label_studio_serves(tmp_path: Path) -> None:
    project = project_at(tmp_path)
    code, said = visit(project)
    assert code == 503 and "atlas up" in said  # nobody made the project there yet
    with project.database.session() as session:
        session.add(Meta(key=ORACLE_PROJECT, value="7"))
    # The path of the page is one value of `next`: its own ? and = are quoted.
    page = "%2Fdata%2Flocal-files%2F%3Fd%3Dimages%2Fstart.html"
    assert visit(project) == (303, f"{URL}/user/login/?next={page}")


def test_a_server_that_is_elsewhere_has_a_button(tmp_path: Path) -> None:
    project = project_at(tmp_path, "inline")
    with project.database.session() as session:
        session.add(Meta(key=ORACLE_PROJECT, value="7"))
    assert visit(project) == (303, f"{URL}/projects/7/data")


def test_the_page_sets_the_mode_and_goes_on(tmp_path: Path) -> None:
    project = project_at(tmp_path)
    pictures(project).mkdir(parents=True)
    for _ in range(2):
        write_door(project, 7)
    (page,) = pictures(project).iterdir()
    text = page.read_text(encoding="utf-8")
    assert 'localStorage.setItem("dm:labelstream:mode", "all")' in text
    assert 'location.replace("/projects/7/data?labeling=1")' in text
