"""Whoever promotes a model whose files are gone is told so; the one before goes on answering."""

import shutil

import pytest

from atlas.answering import TUNED
from atlas.cli import main
from atlas.errors import ModelError
from atlas.project import Project
from atlas.promotion import current_id
from atlas.store.tables import ModelRow
from atlas.switching import switch, switch_back
from tests.api_support import client_of, go_round

LACKS = "model m0001 cannot answer, as the project lacks models/m0001/"


@pytest.fixture
def twice(project: Project) -> Project:
    """With two models, of which the second answers and the first has no files."""
    go_round(project)
    go_round(project)
    shutil.rmtree(project.models / "m0001")
    return project


def current(project: Project) -> str | None:
    with project.database.reader() as session:
        return current_id(session)


def test_a_model_without_files_is_refused(twice: Project) -> None:
    for asked in (lambda: switch(twice, "m0001", reason="x"), lambda: switch_back(twice)):
        with pytest.raises(ModelError, match=f"{LACKS}model.json and .*; put that back from a ba"):
            asked()
        assert current(twice) == "m0002"
    switch(twice, "m0002", reason="x")


def test_a_model_without_its_tuned_backbone_is_refused(project: Project) -> None:
    go_round(project)
    with project.database.session() as session:
        row = session.get_one(ModelRow, "m0001")
        row.metrics = {**row.metrics, TUNED: {"checkpoint": "tuned/a.safetensors", "of": {}}}
    with pytest.raises(ModelError, match=r"the project lacks tuned/a\.safetensors; put"):
        switch(project, "m0001", reason="x")


def test_the_web_api_refuses(twice: Project) -> None:
    with client_of(twice) as client:
        for path in ("/api/v1/models/m0001/promote", "/api/v1/rollback"):
            answer = client.post(path)
            assert answer.status_code == 422
            assert answer.json()["error"].startswith(LACKS)
    assert current(twice) == "m0002"


@pytest.mark.parametrize("command", [("promote", "m0001"), ("rollback",)])
def test_the_command_line_refuses(
    twice: Project,
    command: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, *more = command
    monkeypatch.setattr("sys.argv", ["atlas", name, str(twice.directory), *more])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "put that back from a backup" in " ".join(capsys.readouterr().err.split())
