"""Annotations are appended, labels follow from them; nothing else changes a label."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from rows_support import image_row, query_row
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atlas.errors import TaxonomyError
from atlas.labels import present, record, training_labels
from atlas.store.database import Database
from atlas.store.tables import AnnotationRow, LabelRow, QueryRow, Round
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL, Annotation

LEAVES = ("pet/cat", "pet/dog", "rock")
TREE = Taxonomy(("kind", "species"), LEAVES, {"colour": ("red", "blue")}, ("length",))
START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Three images, each asked about in round 1 (q0, q1, q2) and pushed."""
    with Database(f"sqlite:///{tmp_path / 'atlas.db'}").session() as session:
        session.add_all(_round(number) for number in (1, 2))
        session.add_all(image_row(number) for number in range(3))
        session.flush()
        session.add_all(query_row(f"q{number}", number) for number in range(3))
        session.flush()
        yield session


def _round(number: int) -> Round:
    return Round(number=number, state="open", sampler="random", steps=[])


def answer(
    external_id: str,
    query: str,
    minute: float,
    event: str = "submitted",
    **values: str,
) -> Annotation:
    return Annotation(
        external_id=external_id,
        query_uid=query,
        event=event,  # type: ignore[arg-type]
        updated_at=START + timedelta(minutes=minute),
        values=values,
        annotator=external_id[0],
    )


def give(session: Session, *annotations: Annotation, by: str = "poll") -> int:
    return record(session, annotations, received_by=by, taxonomy=TREE)


def state(session: Session, uid: str) -> str:
    session.expire_all()
    return session.get_one(QueryRow, uid).state


def rows(session: Session) -> Sequence[AnnotationRow]:
    return session.scalars(select(AnnotationRow).order_by(AnnotationRow.id)).all()


def label(session: Session, image: int = 0, task: str = LABEL) -> LabelRow | None:
    session.expire_all()
    return session.get(LabelRow, (f"img_{image}", task))


def test_an_answer_becomes_labels(session: Session) -> None:
    given = answer("a1", "q0", 0, label="pet/cat", colour="red")
    assert give(session, given, by="webhook") == 1
    assert training_labels(session) == {"img_0": {LABEL: "pet/cat", "colour": "red"}}
    assert state(session, "q0") == "answered"
    assert state(session, "q1") == "pushed"
    (row,) = rows(session)
    assert (row.received_by, row.annotator, row.updated_at) == ("webhook", "a", START)
    assert session.get_one(Round, 1).last_label_at is not None
    assert session.get_one(Round, 2).last_label_at is None


def test_a_label_may_be_an_inner_node(session: Session) -> None:
    give(session, answer("a1", "q0", 0, label="pet"))
    assert training_labels(session) == {"img_0": {LABEL: "pet"}}


def test_webhook_and_poll_bring_the_same_once(session: Session) -> None:
    given = answer("a1", "q0", 0, label="rock")
    assert give(session, given, given, by="webhook") == 1
    assert give(session, given, by="poll") == 0
    elsewhere = given.updated_at.astimezone(timezone(timedelta(hours=5)))
    moved = Annotation("a1", "q0", "submitted", elsewhere, {LABEL: "rock"})
    assert give(session, moved) == 0  # the same moment, said in another zone
    assert len(rows(session)) == 1


def test_an_edit_changes_the_label_and_appends(session: Session) -> None:
    give(session, answer("a1", "q0", 0, label="pet/cat"))
    first = rows(session)[0].values
    give(session, answer("a1", "q0", 1, label="rock"))
    assert training_labels(session) == {"img_0": {LABEL: "rock"}}
    assert [row.values for row in rows(session)] == [first, {LABEL: "rock"}]


def test_an_edit_may_take_a_task_away(session: Session) -> None:
    give(session, answer("a1", "q0", 0, label="rock", colour="red"))
    give(session, answer("a1", "q0", 1, colour="red"))
    assert training_labels(session) == {"img_0": {"colour": "red"}}


def test_versions_may_arrive_in_any_order(session: Session) -> None:
    give(session, answer("a1", "q0", 5, label="rock"))
    assert give(session, answer("a1", "q0", 2, label="pet/cat")) == 1
    assert training_labels(session) == {"img_0": {LABEL: "rock"}}


def test_a_deletion_takes_the_label_away_and_the_query_waits_again(session: Session) -> None:
    give(session, answer("a1", "q0", 0, label="rock"))
    give(session, answer("a1", "q0", 1, "deleted"))
    assert training_labels(session) == {}
    assert state(session, "q0") == "pushed"
    assert len(rows(session)) == 2
    give(session, answer("a2", "q0", 2, label="pet"))  # somebody else answers
    assert training_labels(session) == {"img_0": {LABEL: "pet"}}
    assert state(session, "q0") == "answered"


def test_what_is_deleted_does_not_come_back(session: Session) -> None:
    """A late message about the answer before it was deleted changes nothing."""
    give(session, answer("a1", "q0", 1, "deleted"))
    give(session, answer("a1", "q0", 0, label="rock"), answer("a1", "q0", 2, label="rock"))
    assert training_labels(session) == {}
    assert state(session, "q0") == "pushed"


def test_a_skip_is_no_label(session: Session) -> None:
    give(session, answer("a1", "q0", 0, "skipped"))
    assert training_labels(session) == {}
    assert state(session, "q0") == "skipped"
    give(session, answer("a1", "q0", 1, label="rock"))  # thought better of it
    assert state(session, "q0") == "answered"
    give(session, answer("a1", "q0", 2, "skipped"))  # and back
    assert state(session, "q0") == "skipped"
    assert training_labels(session) == {}


def test_one_skips_one_answers(session: Session) -> None:
    give(session, answer("a1", "q0", 0, label="rock"), answer("b1", "q0", 1, "skipped"))
    assert state(session, "q0") == "answered"
    assert training_labels(session) == {"img_0": {LABEL: "rock"}}


def test_the_majority_wins(session: Session) -> None:
    give(
        session,
        answer("a1", "q0", 0, label="rock", colour="red"),
        answer("b1", "q0", 1, label="rock"),
        answer("c1", "q0", 2, label="pet/cat"),
    )
    found = label(session)
    assert found is not None
    assert (found.value, found.annotations) == ("rock", 3)
    assert found.agreement == pytest.approx(2 / 3)
    colour = label(session, task="colour")
    assert colour is not None
    assert (colour.value, colour.agreement, colour.annotations) == ("red", 1.0, 1)


def test_of_a_tie_the_latest_wins(session: Session) -> None:
    give(session, answer("a1", "q0", 0, label="rock"), answer("b1", "q0", 1, label="pet"))
    found = label(session)
    assert found is not None
    assert (found.value, found.agreement) == ("pet", 0.5)
    give(session, answer("a1", "q0", 2, label="pet/cat"))  # the first is edited: now it is later
    assert label(session).value == "pet/cat"  # type: ignore[union-attr]


def test_the_latest_of_a_tie_is_by_the_oracles_clock(session: Session) -> None:
    give(session, answer("b1", "q0", 9, label="pet"))
    give(session, answer("a1", "q0", 3, label="rock"))  # given before, arrived after
    assert label(session).value == "pet"  # type: ignore[union-attr]


def test_an_edit_after_all_may_break_a_tie(session: Session) -> None:
    give(session, answer("a1", "q0", 0, label="rock"), answer("b1", "q0", 1, label="pet"))
    give(session, answer("b1", "q0", 2, label="rock"))
    found = label(session)
    assert found is not None
    assert (found.value, found.agreement) == ("rock", 1.0)


@pytest.mark.parametrize(
    ("given", "value", "agreement"),
    [
        (["12.50"], "12.5", 1),
        (["10", "11", "90"], "11", 1 / 3),  # a slip of the hand; 10 is 9% away
        (["10", "10.4", "9.6"], "10", 1),  # 4% to either side
        (["10", "10.6"], "10.3", 1),  # the mean of the two in the middle
        (["-10", "-10.6"], "-10.3", 1),
        (["0.1", "0.2", "0.3", "0.4"], "0.25", 0),
        (["0", "0.001", "-0.001"], "0", 1 / 3),
    ],
)
def test_a_quantity_is_the_median(
    session: Session, given: list[str], value: str, agreement: float
) -> None:
    give(session, *(answer(f"{'abcd'[i]}1", "q0", i, length=one) for i, one in enumerate(given)))
    found = label(session, task="length")
    assert found is not None
    assert (found.value, found.annotations) == (value, len(given))
    assert found.agreement == pytest.approx(agreement)
    assert training_labels(session) == {"img_0": {"length": value}}


def test_an_image_asked_twice_has_one_label_of_both(session: Session) -> None:
    session.add(query_row("again", 0, round_number=2))
    session.flush()
    give(session, answer("a1", "q0", 0, "skipped"))
    give(session, answer("a2", "again", 1, label="rock"))
    assert (state(session, "q0"), state(session, "again")) == ("skipped", "answered")
    assert training_labels(session) == {"img_0": {LABEL: "rock"}}


def test_an_unknown_query_is_passed_over(session: Session) -> None:
    given = [answer("a1", "who", 0, label="rock"), answer("a2", "q1", 0, label="rock")]
    assert give(session, *given) == 1
    assert training_labels(session) == {"img_1": {LABEL: "rock"}}


@pytest.mark.parametrize(
    "values", [{LABEL: "pet/cow"}, {"colour": "green"}, {"size": "big"}, {"length": "long"}]
)
def test_a_value_outside_the_taxonomy_records_nothing(
    session: Session, values: dict[str, str]
) -> None:
    with pytest.raises(TaxonomyError):
        give(session, answer("a1", "q0", 0, label="rock"), answer("a2", "q1", 0, **values))
    assert session.scalar(select(func.count()).select_from(AnnotationRow)) == 0
    assert training_labels(session) == {}


def test_nothing_new_is_no_work(session: Session) -> None:
    assert give(session) == 0


def test_many_at_once(session: Session) -> None:
    """More than a statement of SQLite takes parameters."""
    session.add_all(image_row(number) for number in range(3, 1203))
    session.flush()
    session.add_all(query_row(f"q{number}", number) for number in range(3, 1203))
    session.flush()
    answers = [answer(f"a{i}", f"q{i}", i, label="rock") for i in range(1203)]
    assert give(session, *answers) == 1203
    assert len(training_labels(session)) == 1203
    assert give(session, *answers) == 0


def test_present_is_the_latest_of_each_oldest_first(session: Session) -> None:
    give(
        session,
        answer("a1", "q0", 0, label="rock"),
        answer("b1", "q0", 1, label="pet"),
        answer("a1", "q0", 2, label="pet"),
        answer("c1", "q0", 3, label="rock"),
        answer("c1", "q0", 4, "deleted"),
    )
    assert [row.external_id for row in present(rows(session))] == ["b1", "a1"]
