"""A job that somebody stopped stays stopped until there is news for it, or somebody retries it."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
import pytest
from sqlalchemy import update
import torch

from atlas import promotion
from atlas.answering import TUNED
from atlas.batches import Ask
from atlas.embedding import embed_pool
from atlas.errors import OracleUnreachable, Stopped
from atlas.pool import ingest
from atlas.project import Project
from atlas.settings_file import change_setting
from atlas.store.tables import AnnotationRow, Image, Job, Meta, ModelRow, Promotion, QueryRow, Round
from atlas.types import utc_now
from services import jobs, steps, tasks
from tests.rounds_support import go_round

LATER = timedelta(seconds=1)


@pytest.fixture
def served(project: Project) -> Project:
    """One round was answered and closed, everything is embedded and reconciled."""
    go_round(project, Ask(8, "random"))
    with project.database.session() as session:
        session.add(Meta(key=steps.ORACLE_PROJECT, value="1"))
        for kind in ("embed", "reconcile"):
            session.add(Job(id=kind, kind=kind, key="", state="done", **row(total=40)))
    return project


def row(**progress: int) -> dict[str, object]:
    return {"arguments": {}, "progress": progress}


def job(project: Project, job_id: str) -> Job:
    with project.database.reader() as session:
        return session.get_one(Job, job_id)


def asked(project: Project) -> set[str]:
    """Ids of the jobs that the clock asks for."""
    return {jobs.id_of(kind, key) for kind, key in steps.wanted(project)}


def stop(project: Project, kind: str, key: str = "") -> None:
    """Somebody stops what the clock has asked for."""
    job_id = jobs.request(project.database, kind, key=key)
    assert jobs.stop(project.database, job_id) == "stopped"


def ended(project: Project, job_id: str) -> Any:
    return job(project, job_id).finished_at


def test_a_stopped_embed_waits_for_images_or_another_backbone(project: Project) -> None:
    assert asked(project) == {"embed"}
    stop(project, "embed")
    assert asked(project) == set()
    with project.database.session() as session:  # an image comes
        session.execute(update(Image).values(added_at=ended(project, "embed") + LATER))
    assert asked(project) == {"embed"}


def test_a_stopped_embed_comes_back_with_another_backbone_not_with_another_head(
    served: Project,
) -> None:
    stop(served, "embed")
    promote(served, "head", {})
    assert "embed" not in asked(served)
    base = served.settings.backbone.model_dump(mode="json", exclude={"batch_size", "device"})
    promote(served, "tuned", {TUNED: {"checkpoint": "models/tuned", "of": base}})
    assert "embed" in asked(served)


def promote(project: Project, model_id: str, metrics: dict[str, Any]) -> None:
    """That model answers from now on."""
    with project.database.session() as session:
        now = session.get_one(ModelRow, promotion.current_id(session) or "")
        facts = {"round_number": None, "head": now.head, "fingerprint": now.fingerprint}
        session.add(ModelRow(id=model_id, labels=now.labels, metrics=metrics, **facts))
        session.flush()
        session.add(Promotion(model_id=model_id, reason="test"))


def test_a_stopped_round_waits_for_an_answer_or_images(served: Project) -> None:
    assert "advance-1" in asked(served)
    stop(served, "advance", "1")
    assert "advance-1" not in asked(served)
    with served.database.session() as session:  # an answer comes
        session.execute(
            update(AnnotationRow).values(received_at=ended(served, "advance-1") + LATER)
        )
    assert "advance-1" in asked(served)


def test_a_stopped_push_waits_for_a_round(served: Project) -> None:
    stop(served, "advance", "1")
    steps.query(served, {"n": 4, "sampler": "random", "level": ""})
    assert asked(served) == {"push"}
    stop(served, "push")
    assert asked(served) == {"analyse"}  # which the push does not hold up any more
    with served.database.session() as session:
        opened = {"opened_at": ended(served, "push") + LATER}
        session.execute(update(Round).where(Round.number == 2).values(**opened))
    assert asked(served) == {"push"}


def test_a_stopped_rescoring_waits_for_an_answer_or_a_model(served: Project) -> None:
    steps.query(served, {"n": 4, "sampler": "random", "level": ""})
    with served.database.session() as session:
        waiting = update(QueryRow).where(QueryRow.round_number == 2)
        session.execute(waiting.values(state="pushed", task_id="7"))
    promote(served, "head", {})
    assert "rescore" in asked(served)
    stop(served, "rescore")
    assert "rescore" not in asked(served)
    promote(served, "other", {})
    assert "rescore" in asked(served)


def test_a_stopped_analysis_waits_for_a_model_or_images(served: Project) -> None:
    stop(served, "advance", "1")
    assert asked(served) == {"analyse"}
    stop(served, "analyse")
    assert asked(served) == set()
    with served.database.session() as session:
        latest = update(Promotion).values(promoted_at=ended(served, "analyse") + LATER)
        session.execute(latest)
    assert asked(served) == {"analyse"}


def test_one_that_failed_after_it_was_asked_to_stop_counts_as_stopped(project: Project) -> None:
    job_id = jobs.request(project.database, "embed")
    assert jobs.start(project.database, job_id, holder="a")
    jobs.stop(project.database, job_id)
    jobs.fail(project.database, job_id, "no space left")
    an_hour_ago = {"finished_at": utc_now() - timedelta(hours=1)}
    with project.database.session() as session:
        session.execute(update(Job).values(**an_hour_ago))
        session.execute(update(Image).values(added_at=utc_now() - timedelta(hours=2)))
    assert asked(project) == set()
    with project.database.session() as session:
        session.execute(update(Job).values(stop_asked_at=None))
    assert asked(project) == {"embed"}  # the minute is over


def test_one_that_was_asked_to_stop_is_not_tried_again(project: Project) -> None:
    """Label Studio is away, and the push would be sent again for ever."""
    job_id = jobs.request(project.database, "push")

    def asked_meanwhile(owner: Project) -> dict[str, Any]:
        assert jobs.stop(owner.database, job_id) == "running"
        raise OracleUnreachable("Label Studio does not answer")

    tasks.carry_out(project, job_id, asked_meanwhile)
    found = job(project, job_id)
    assert (found.state, found.error) == ("stopped", "Label Studio does not answer")
    assert found.finished_at is not None


def test_the_page_says_what_brings_it_back(project: Project, engineer: TestClient) -> None:
    stop(project, "embed")
    for path in ("/jobs", "/jobs/embed"):
        said = " ".join(engineer.get(path).text.split())
        assert "stays stopped until somebody tries it again" in said, path
        assert "images or another backbone come" in said, path
    stop(project, "finetune")  # which nothing but a person or the schedule asks for
    assert "stays stopped" not in engineer.get("/jobs/finetune").text


def test_an_embed_stops_between_batches_and_goes_on(
    empty_project: Project, draw_pool: Callable[..., Path]
) -> None:
    ingest(empty_project, draw_pool(empty_project.directory / "pool", per_leaf=10))
    change_setting(empty_project.directory, "backbone", "batch_size", 1)  # 40 images, one by one
    project = Project(empty_project.directory)
    threads = torch.get_num_threads()
    seen: list[int] = []
    with pytest.raises(Stopped, match="embedding stopped at 5 of 40 images"):
        embed_pool(
            project,
            progress=lambda done, _total: seen.append(done),
            should_stop=lambda: len(seen) == 5,
        )
    assert torch.get_num_threads() == threads
    assert embed_pool(project).computed == 35  # what was embedded is kept


def test_an_embed_that_is_through_is_not_stopped(project: Project) -> None:
    assert embed_pool(project, should_stop=lambda: True).computed == 0


def test_an_embed_heeds_its_row(empty_project: Project, draw_pool: Callable[..., Path]) -> None:
    ingest(empty_project, draw_pool(empty_project.directory / "pool", per_leaf=10))
    change_setting(empty_project.directory, "backbone", "batch_size", 1)
    project = Project(empty_project.directory)
    job_id = jobs.request(project.database, "embed")

    def ask(done: int, _total: int) -> None:
        if done == 3:
            assert jobs.stop(project.database, job_id) == "running"

    should_stop = partial(jobs.is_asked_to_stop, project.database, job_id)
    tasks.carry_out(
        project,
        job_id,
        lambda owner: steps.embed(owner, progress=ask, should_stop=should_stop),
    )
    found = job(project, job_id)
    assert found.state == "stopped"
    assert found.error.startswith("embedding stopped at 3 of 40 images")
    assert asked(project) == set()
    # "Try again" of the page does no more than this
    jobs.request(project.database, "embed")
    tasks.carry_out(
        project, job_id, lambda owner: steps.embed(owner, progress=ask, should_stop=lambda: False)
    )
    assert job(project, job_id).progress["computed"] == 37
