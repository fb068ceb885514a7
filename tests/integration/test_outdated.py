"""What is quoted of the model that answers now follows the audit labels there are now."""

from typing import Any

import pytest
from sqlalchemy import select, update

from atlas.labels import record
from atlas.project import Project
from atlas.promotion import roll_back
from atlas.settings_file import change_setting
from atlas.store.tables import AccuracyRow, AnnotationRow, Job, Meta, ModelRow, QueryRow
from atlas.types import Annotation, utc_now
from services import jobs, steps, tasks
from tests.api_support import client_of, go_round

EACH = 4  # audit images in each round, see `settings` of the root conftest


@pytest.fixture
def measured(project: Project) -> Project:
    """A model that was measured on 4 audit images; nothing is asked or fetched by itself."""
    change_setting(project.directory, "service", "auto_rounds", False)
    project = Project(project.directory)
    with project.database.session() as session:
        session.merge(Meta(key=steps.ORACLE_PROJECT, value="7"))
    jobs.request(project.database, "reconcile")
    carry_out(project, "reconcile", lambda _: {})
    nothing: dict[str, Any] = {"progress": lambda *_: None, "should_stop": lambda: False}
    jobs.request(project.database, "embed")
    carry_out(project, "embed", lambda owner: steps.embed(owner, **nothing))
    go_round(project)
    return project


def carry_out(project: Project, job_id: str, step: Any) -> Job:
    tasks.carry_out(project, job_id, step)
    with project.database.reader() as session:
        return session.get_one(Job, job_id)


def measure(project: Project) -> Job:
    return carry_out(project, jobs.request(project.database, "measure"), steps.measure)


def take_back(project: Project, kind: str) -> None:
    """An annotator deletes the latest answer to a query of that kind."""
    mine = select(AnnotationRow).join(QueryRow, QueryRow.uid == AnnotationRow.query_uid)
    mine = mine.where(QueryRow.kind == kind, AnnotationRow.event == "submitted")
    with project.database.session() as session:
        row = session.scalars(mine.order_by(AnnotationRow.id.desc()).limit(1)).one()
        gone = Annotation(row.external_id, row.query_uid, "deleted", utc_now(), {}, row.annotator)
        record(session, [gone], received_by="webhook", taxonomy=project.taxonomy)


def quoted(project: Project) -> tuple[str, int]:
    """Model and audit labels of the accuracy that the web API tells."""
    with client_of(project) as client:
        found = client.get("/api/v1/accuracy?level=shape").json()["shape"]
        return found["model"], found["n"]


def test_an_audit_label_that_changes_is_measured_anew(measured: Project) -> None:
    assert quoted(measured) == ("m0001", EACH)
    assert steps.wanted(measured) == [("analyse", "")]  # measured when it was trained
    take_back(measured, "query")
    assert steps.wanted(measured) == [("analyse", "")]  # which measures nothing
    take_back(measured, "audit")
    assert steps.wanted(measured) == [("measure", "")]
    assert measure(measured).progress == {"model": "m0001"}
    assert quoted(measured) == ("m0001", EACH - 1)
    assert steps.wanted(measured) == [("analyse", "")]


def test_a_model_that_answers_again_is_measured_on_what_came_since(measured: Project) -> None:
    go_round(measured)
    assert quoted(measured) == ("m0002", 2 * EACH)
    with measured.database.session() as session:
        roll_back(session)
    assert quoted(measured) == ("m0001", EACH)
    assert steps.wanted(measured) == [("measure", "")]
    measure(measured)
    assert quoted(measured) == ("m0001", 2 * EACH)


def test_a_number_that_stands_is_not_looked_at_for_ever(measured: Project) -> None:
    """That of another backbone than the one in atlas.toml cannot be measured again."""
    with measured.database.session() as session:
        before = session.get_one(AccuracyRow, ("m0001", "shape")).measured_at
        session.execute(update(ModelRow).values(fingerprint="another"))
    change_setting(measured.directory, "backbone", "cut", "s3")
    changed = Project(measured.directory)
    take_back(changed, "audit")
    assert ("measure", "") in steps.wanted(changed)
    measure(changed)
    assert ("measure", "") not in steps.wanted(changed)
    with changed.database.reader() as session:
        assert session.get_one(AccuracyRow, ("m0001", "shape")).measured_at == before


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_one_that_failed_or_was_stopped_waits(measured: Project, state: str) -> None:
    take_back(measured, "audit")
    job_id = jobs.request(measured.database, "measure")
    if state == "failed":
        assert jobs.start(measured.database, job_id, holder="a")
        jobs.fail(measured.database, job_id, "no room")
    else:
        assert jobs.stop(measured.database, job_id) == "stopped"
    assert steps.wanted(measured) == [("analyse", "")]
    if state == "stopped":
        take_back(measured, "audit")  # news
        assert steps.wanted(measured) == [("measure", "")]
