"""A project's name in the address of the web API."""

import json

from api_support import client_of
import pytest

from atlas.project import Project
from atlas.settings_file import load_settings, save_settings
from atlas.tokens import Role


@pytest.fixture
def named(project: Project) -> Project:
    """With a name that an address has to quote."""
    settings = load_settings(project.directory).model_copy(update={"name": "shoes & boots"})
    save_settings(settings, project.directory)
    return Project(project.directory)


HERE = "/api/v1/projects/shoes%20%26%20boots"


def test_an_address_with_the_name_answers_as_one_without(named: Project) -> None:
    with client_of(named, Role.VIEWER) as client:
        for path in ("/accuracy", "/queue", "/schedule/heads", "/images/nothing?expires=1"):
            with_name, without = client.get(HERE + path), client.get(f"/api/v1{path}")
            assert with_name.status_code == without.status_code
            assert with_name.json() == without.json()
        assert list(client.get(f"{HERE}/accuracy?level=shape").json()) == ["shape"]


def test_rights_are_the_same(named: Project) -> None:
    change = {"after_labels": 9}
    with client_of(named, Role.VIEWER) as viewer:
        assert viewer.put(f"{HERE}/schedule/heads", json=change).status_code == 403
    with client_of(named) as engineer:
        assert engineer.put(f"{HERE}/schedule/heads", json=change).is_success
        assert engineer.get("/api/v1/schedule/heads").json()["schedule"]["after_labels"] == 9


@pytest.mark.parametrize("other", ["boots", "shoes", "shoes%20%26%20boots2", ""])
def test_another_project_is_not_here(named: Project, other: str) -> None:
    with client_of(named) as client:
        answer = client.get(f"/api/v1/projects/{other}/accuracy")
        assert (answer.status_code, answer.json()) == (
            404,
            {"detail": "not the project of this server"},
        )


def test_every_path_is_published_with_the_name_too(named: Project) -> None:
    with client_of(named) as client:
        text = client.get("/openapi.json").text
    assert "shoes" not in text  # the name is for those with a token
    published = json.loads(text)["paths"]
    api = [path for path in published if path.startswith("/api/v1/")]
    plain = [path for path in api if not path.startswith("/api/v1/projects/")]
    with_name = [path.replace("/api/v1/", "/api/v1/projects/{project}/") for path in plain]
    assert sorted(api) == sorted(plain + with_name)
    operations = [one for item in published.values() for one in item.values()]
    ids = [one["operationId"] for one in operations]
    assert len(set(ids)) == len(ids)
    get = published["/api/v1/projects/{project}/schedule/{kind}"]["get"]
    assert [(one["name"], one["in"]) for one in get["parameters"]] == [
        ("project", "path"),
        ("kind", "path"),
    ]
