"""A task that is a number, from the truth to the dashboard: every place where a user meets it."""

from dataclasses import replace
from pathlib import Path

from fastapi.testclient import TestClient
import numpy as np
import pytest
from rounds_support import go_round, location_of, queries
from sqlalchemy import select

from atlas import rounds
from atlas.batches import Ask
from atlas.cli import main
from atlas.export import export_labels
from atlas.images import open_image
from atlas.labels import audit_labels, training_labels
from atlas.oracle.simulated import SimulatedOracle
from atlas.project import TAXONOMY_FILE, Project
from atlas.replay import load_replay, replay
from atlas.report import report_html, result
from atlas.serving import project_predictor
from atlas.status import accuracy, errors, measured, models, queue, status
from atlas.store.tables import Image
from atlas.taxonomy import Taxonomy
from atlas.taxonomy_file import save_taxonomy
from services.api import create_app

LIGHT = "light"  # mean of a picture's pixels, 0 to 255


@pytest.fixture
def lit(project: Project, taxonomy: Taxonomy) -> Project:
    """The tiny pool, of which the truth tells how light each picture is."""
    save_taxonomy(replace(taxonomy, quantities=(LIGHT,)), project.directory / TAXONOMY_FILE)
    with project.database.session() as session:
        for image in session.scalars(select(Image)):
            pixels = np.asarray(open_image(project.absolute(image.location)))
            image.truth = {**image.truth, LIGHT: f"{pixels.mean():.2f}"}
    return Project(project.directory)


def test_it_is_labelled_learned_and_measured(lit: Project) -> None:
    go_round(lit)
    with lit.database.reader() as session:
        labels, audit = training_labels(session), audit_labels(session)
    assert all(set(values) == {"label", LIGHT} for values in [*labels.values(), *audit.values()])
    found = errors(lit)[LIGHT]
    assert (found["state"], found["n"]) == ("ok", 4)
    lightness = [float(values[LIGHT]) for values in audit.values()]
    assert 0 < found["mean_absolute_error"] < np.ptp([*lightness, 0])
    assert found["low"] <= found["mean_absolute_error"] <= found["high"]
    assert set(accuracy(lit)) == {"family", "shape"}  # a number is not right or wrong
    assert list(measured(lit)) == ["family", "shape", LIGHT]


def test_more_labels_make_it_better_than_the_mean_would(lit: Project) -> None:
    for _ in range(3):
        go_round(lit, Ask(10))
    with lit.database.reader() as session:
        seen = [float(one[LIGHT]) for one in training_labels(session).values()]
        audit = [float(one[LIGHT]) for one in audit_labels(session).values()]
    by_mean = np.abs(np.array(audit) - np.mean(seen)).mean()
    assert errors(lit)[LIGHT]["mean_absolute_error"] < by_mean


def test_queries_carry_a_guess_of_it(lit: Project) -> None:
    go_round(lit)
    number = rounds.open_round(lit, Ask(8))  # four blind, as many as audit images
    predictor = project_predictor(lit)
    told = [row for row in queries(lit, number) if not row.blind]
    assert len(told) == 4
    for row in told:
        assert set(row.guess) == {"label", LIGHT}
        assert set(row.confidence) == {"label"}
        assert 0 < float(row.guess[LIGHT]) < 255
        (record,) = predictor.predict([str(location_of(lit, row))])
        assert record["quantities"] == {LIGHT: pytest.approx(float(row.guess[LIGHT]), rel=1e-2)}
        assert set(record["tasks"]) == {"family", "shape"}
    assert all(row.guess == {} for row in queries(lit, number, "audit"))
    assert queue(lit)  # what the dashboard lists


def test_it_is_shown_wherever_accuracy_is(
    lit: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_round(lit)
    found = errors(lit)[LIGHT]
    facts, told = status(lit), result(lit)
    assert facts["errors"] == facts["rounds"][0]["errors"] == {LIGHT: found}
    assert models(lit)[0]["errors"] == told["rounds"][0]["errors"] == {LIGHT: found}
    assert f"<b>± {found['mean_absolute_error']:.3g}" in report_html(lit)
    with TestClient(create_app(lit.directory), base_url="http://127.0.0.1") as client:
        (shown,) = client.get("/api/v1/accuracy", params={"level": LIGHT}).json().values()
        assert found.items() <= shown.items()
        assert set(client.get("/api/v1/accuracy").json()) == {"family", "shape", LIGHT}
        page = client.get("/").text
    assert f"± {found['mean_absolute_error']:.3g}" in page
    cell = f"MAE {found['mean_absolute_error']:.2g} ("
    picture = location_of(lit, queries(lit, 1)[0])
    for command in (["status"], ["accuracy"], ["accuracy", "--level", LIGHT], ["models"]):
        assert cell in said([*command, lit.directory], capsys, monkeypatch)
    assert f"{LIGHT}: " in said(["predict", lit.directory, picture], capsys, monkeypatch)


def said(
    arguments: list[object], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> str:
    """What a command prints, on a terminal that is wide enough."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.argv", ["atlas", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    return capsys.readouterr().out


def test_before_anything_is_measured(lit: Project) -> None:
    assert status(lit)["errors"][LIGHT] == {
        "state": "too_few_labels",
        "mean_absolute_error": None,
        "low": None,
        "high": None,
        "n": 0,
        "confidence": 0.95,
    }
    with TestClient(create_app(lit.directory), base_url="http://127.0.0.1") as client:
        assert client.get("/").text.count("not measured yet") == 3


def test_images_without_it_are_learned_from_all_the_same(lit: Project) -> None:
    """Half of the answers leave the number out; it is measured on those that say it."""
    with lit.database.session() as session:
        for position, image in enumerate(session.scalars(select(Image).order_by(Image.id))):
            if position % 2:
                image.truth = {"label": image.truth["label"]}
    go_round(lit, Ask(16))
    with lit.database.reader() as session:
        told = sum(LIGHT in values for values in audit_labels(session).values())
    assert errors(lit)[LIGHT]["n"] == told < accuracy(lit)["shape"]["n"] == 4


def test_labels_are_written_with_it(lit: Project, tmp_path: Path) -> None:
    go_round(lit)
    assert export_labels(lit, tmp_path / "labels.jsonl") == 8
    assert (tmp_path / "labels.jsonl").read_text().count(f'"{LIGHT}": "') >= 8


@pytest.mark.parametrize("sampler", ["by_budget", "entropy", "atlas"])
def test_samplers_see_classifications_alone(lit: Project, sampler: str) -> None:
    chosen = lit.settings.round.model_copy(update={"sampler": sampler})
    settings = lit.settings.model_copy(update={"round": chosen})
    points = replay(load_replay(lit), settings, (4, 8, 16))
    assert [point["labels"] for point in points] == [4, 8, 16]
    assert all(set(point["accuracy"]) == {"family", "shape"} for point in points)


def test_a_replay_is_the_live_loop(lit: Project) -> None:
    points = replay(load_replay(lit), lit.settings, (4, 8, 12))
    oracle = SimulatedOracle(lit)
    for point in points:
        number = rounds.open_round(lit, Ask(4))
        rounds.push_round(lit, oracle)
        rounds.collect(lit, oracle)
        rounds.close_round(lit)
        assert {row.image_id for row in queries(lit, number)} == set(point["asked"])
