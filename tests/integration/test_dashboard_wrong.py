"""What a browser shows where there is nothing to show; programs go on getting JSON."""

from fastapi.testclient import TestClient
import pytest

from atlas.project import Project
from atlas.settings_file import change_setting
from services.api import create_app
from tests.dashboard_support import Page, faults, form_token, token

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize(
    ("path", "status_code", "said"),
    [
        ("/nowhere", 404, "There is no such page"),
        ("/levels/nothing", 404, "No level &#39;nothing&#39;; known: family, shape."),
        ("/jobs/nothing", 404, "No job &#39;nothing&#39;"),
        ("/models/m0001/promote", 405, "This address takes forms alone"),
        ("/queue?from=0", 422, "This address is not right"),
        ("/label", 503, "Label Studio is not set up yet"),
    ],
)
def test_a_browser_gets_a_page_with_the_way_back(
    client: TestClient, path: str, status_code: int, said: str
) -> None:
    answer = client.get(path, headers=BROWSER)
    assert answer.status_code == status_code
    assert answer.headers["content-type"].startswith("text/html")
    assert said in answer.text
    assert faults(answer.text) == []
    links = {one["href"] for one in Page(answer.text).all("a")}
    assert {"/", "/queue", "/map", "/models", "/schedule", "/jobs", "/annotators"} <= links


def test_programs_get_json(client: TestClient) -> None:
    assert client.get("/nowhere").json() == {"detail": "Not Found"}
    assert client.get("/jobs/nothing").json() == {"detail": "no job 'nothing'; see /jobs"}
    for path in ("/api/v1/nowhere", "/api/v1/jobs/nothing", "/images/none"):
        answer = client.get(path, headers=BROWSER)
        assert answer.status_code in (404, 422)
        assert answer.headers["content-type"] == "application/json"
    assert client.post("/healthz", headers=BROWSER).headers["allow"] == "GET"


def test_a_form_that_is_out_of_date_is_refused_with_a_page(engineer: TestClient) -> None:
    assert form_token(engineer, "/schedule")
    answer = engineer.post("/schedule/heads", data={"form_token": "old"}, headers=BROWSER)
    assert answer.status_code == 403
    assert "This form is out of date" in answer.text and "<h1>" in answer.text


def test_whoever_is_not_let_in_may_sign_in(empty_project: Project) -> None:
    change_setting(empty_project.directory, "service", "host", "0.0.0.0")
    with TestClient(create_app(empty_project.directory)) as client:
        answer = client.get("/jobs", headers=BROWSER)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
        assert 'href="/sign-in?next=/jobs"' in answer.text and faults(answer.text) == []
        fields = {"token": token(empty_project), "next": "/jobs"}
        assert client.post("/sign-in", data=fields, headers=BROWSER).status_code == 200
