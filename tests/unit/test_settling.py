"""How many answers are enough, who is asked once more, and what came unasked."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from rows_support import image_row, query_row
from sqlalchemy import select
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from atlas.consensus import Consensus
from atlas.labels import record, training_labels
from atlas.settling import count_unsettled, keep_newcomers, resettle
from atlas.store.database import Database
from atlas.store.tables import AnnotationRow, QueryRow, Round
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL, Annotation, utc_now

TREE = Taxonomy(("kind", "species"), ("pet/cat", "pet/dog", "rock"), {}, ("length",))
START = utc_now() - timedelta(hours=1)
SKIP = ""


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Round 1 is open; query q9 was answered by three people, so that more than two are known."""
    with Database(f"sqlite:///{tmp_path / 'atlas.db'}").session() as session:
        session.add(Round(number=1, state="open", sampler="random", steps=[]))
        for number in (0, 1, 2, 9):
            session.add(image_row(number))
        session.flush()
        for number in (0, 1, 2, 9):
            session.add(query_row(f"q{number}", number, overlap=3 if number == 9 else 2))
        session.flush()
        give(session, "q9", ann="rock", bob="rock", cat="rock")
        yield session


def give(session: Session, uid: str, *, by: Consensus = "majority", **people: str) -> None:
    """Each person's answer, one after the other; `SKIP` skips."""
    minutes = len(session.scalars(select(AnnotationRow)).all())
    for person, value in people.items():
        minutes += 1
        annotation = Annotation(
            external_id=f"{person}-{uid}-{minutes}",
            query_uid=uid,
            event="submitted" if value else "skipped",
            updated_at=START + timedelta(minutes=minutes),
            values={LABEL: value} if value else {},
            annotator=person,
        )
        record(session, [annotation], received_by="poll", taxonomy=TREE, consensus=by)
    session.expire_all()


def pass_time(session: Session, days: float, *people: str) -> None:
    """Everything that these people (nobody named: all) answered is so much longer ago."""
    for row in session.scalars(select(AnnotationRow)):
        if not people or row.annotator in people:
            row.updated_at -= timedelta(days=days)
    session.flush()


def arrive(session: Session, **days_ago: float) -> None:
    """Accounts made so many days ago."""
    keep_newcomers(session, {who: utc_now() - timedelta(days) for who, days in days_ago.items()})


def query(session: Session, uid: str = "q0") -> QueryRow:
    session.flush()
    session.expire_all()
    return session.get_one(QueryRow, uid)


def test_a_query_waits_for_as_many_as_it_asks(session: Session) -> None:
    give(session, "q0", ann="rock")
    assert query(session).state == "pushed"
    assert training_labels(session)["img_0"] == {LABEL: "rock"}  # what is known so far
    give(session, "q0", bob="rock")
    assert (query(session).state, query(session).extra) == ("answered", False)


def test_two_answers_of_one_person_are_one(session: Session) -> None:
    give(session, "q0", ann="rock")
    give(session, "q0", ann="pet/cat")
    assert query(session).state == "pushed"
    assert training_labels(session)["img_0"] == {LABEL: "pet/cat"}


def test_one_more_is_asked_where_two_differ(session: Session) -> None:
    give(session, "q0", ann="rock", bob="pet/cat")
    row = query(session)
    assert (row.state, row.overlap, row.extra) == ("disputed", 3, True)
    row.state = "pushed"  # the oracle was told
    give(session, "q0", cat="rock")
    assert query(session).state == "answered"
    assert training_labels(session)["img_0"] == {LABEL: "rock"}


def test_nobody_is_asked_a_second_time(session: Session) -> None:
    give(session, "q0", ann="rock", bob="pet/cat")
    query(session).state = "pushed"
    give(session, "q0", cat="pet/dog")  # three answers, three values: the latest
    row = query(session)
    assert (row.state, row.overlap) == ("answered", 3)
    assert training_labels(session)["img_0"] == {LABEL: "pet/dog"}


def test_a_quantity_may_be_disputed_too(session: Session) -> None:
    for person, length in (("ann", "10"), ("bob", "20")):  # neither is within 5% of 15
        annotation = Annotation(
            f"{person}-1", "q0", "submitted", START, {LABEL: "rock", "length": length}, person
        )
        record(session, [annotation], received_by="poll", taxonomy=TREE)
    assert query(session).state == "disputed"


def test_a_skip_is_an_answer_but_no_vote(session: Session) -> None:
    give(session, "q0", ann="rock", bob=SKIP)  # 1 vote of 2: no majority of those who were asked
    assert (query(session).state, query(session).overlap) == ("disputed", 3)
    query(session).state = "pushed"
    give(session, "q0", cat=SKIP)
    assert query(session).state == "answered"
    assert training_labels(session)["img_0"] == {LABEL: "rock"}


def test_what_everybody_skips_is_skipped(session: Session) -> None:
    give(session, "q0", ann=SKIP)
    assert query(session).state == "pushed"
    give(session, "q0", bob=SKIP)
    assert query(session).state == "skipped"
    assert "img_0" not in training_labels(session)


def test_two_of_three_are_a_majority_whatever_the_third_does(session: Session) -> None:
    query(session).overlap = 3
    give(session, "q0", ann="rock", bob="rock", cat=SKIP)  # 2 of 3 who were asked
    assert (query(session).state, query(session).extra) == ("answered", False)


def test_nobody_waits_for_a_person_who_is_not_there(session: Session) -> None:
    """Three people have ever labelled: there is no fourth to ask."""
    query(session).overlap = 3
    give(session, "q0", ann="rock", bob="pet/cat", cat="pet/dog")
    assert (query(session).state, query(session).extra) == ("answered", False)


def test_a_new_account_that_has_not_labelled_yet_is_asked(session: Session) -> None:
    """Of three who have labelled all three disagree; Dan's account is of yesterday."""
    arrive(session, dan=1)
    query(session).overlap = 3
    give(session, "q0", ann="rock", bob="pet/cat", cat="pet/dog")
    assert (query(session).state, query(session).overlap) == ("disputed", 4)
    query(session).state = "pushed"
    give(session, "q0", dan="rock")
    assert query(session).state == "answered"
    assert training_labels(session)["img_0"] == {LABEL: "rock"}


def test_an_account_that_never_labels_is_not_waited_for(session: Session) -> None:
    arrive(session, dan=8)
    query(session).overlap = 3
    give(session, "q0", ann="rock", bob="pet/cat", cat="pet/dog")
    assert (query(session).state, query(session).extra) == ("answered", False)


def test_who_has_not_answered_for_a_week_is_not_waited_for(session: Session) -> None:
    pass_time(session, 8, "cat")
    give(session, "q0", ann="rock", bob="pet/cat")
    assert (query(session).state, query(session).extra) == ("answered", False)


def test_the_two_who_differ_are_not_their_own_third(session: Session) -> None:
    pass_time(session, 8)  # q9: Cat is gone
    arrive(session, ann=1, bob=1)
    give(session, "q0", ann="rock", bob="pet/cat")
    assert query(session).state == "answered"


def test_the_wait_ends_with_the_week(session: Session) -> None:
    give(session, "q0", ann="rock", bob="pet/cat")
    query(session).state = "pushed"
    assert (resettle(session, TREE), query(session).state) == (0, "pushed")  # Cat may come
    pass_time(session, 8, "cat")
    assert (resettle(session, TREE), query(session).state) == (1, "answered")
    assert training_labels(session)["img_0"] == {LABEL: "pet/cat"}  # the later one, for now
    assert count_unsettled(session) == 1
    give(session, "q0", cat="rock")  # comes after all, and counts
    assert (query(session).state, query(session).surplus) == ("answered", 0)
    assert training_labels(session)["img_0"] == {LABEL: "rock"}
    assert count_unsettled(session) == 0


def test_new_accounts_do_not_keep_a_query_waiting_for_ever(session: Session) -> None:
    give(session, "q0", ann="rock", bob="pet/cat")
    query(session).state = "pushed"
    pass_time(session, 8)
    arrive(session, dan=1)
    assert (resettle(session, TREE), query(session).state) == (1, "answered")


def test_who_comes_while_the_round_goes_on_is_asked(session: Session) -> None:
    pass_time(session, 8)  # q9: nobody but Ann and Bob is there
    give(session, "q0", ann="rock", bob="pet/cat")
    give(session, "q1", ann="rock", bob="rock")
    assert (query(session).state, query(session, "q1").state) == ("answered", "answered")
    arrive(session, dan=1)
    assert resettle(session, TREE) == 1
    assert (query(session).state, query(session).overlap) == ("disputed", 3)
    assert query(session, "q1").state == "answered"


def test_a_round_that_is_complete_stays_so(session: Session) -> None:
    pass_time(session, 8)
    query(session, "q1").state = query(session, "q2").state = "skipped"
    give(session, "q0", ann="rock", bob="pet/cat")
    arrive(session, dan=1)
    assert (resettle(session, TREE), query(session).state) == (0, "answered")


def test_a_round_that_closes_ends_the_wait(session: Session) -> None:
    give(session, "q0", ann="rock", bob="pet/cat")
    session.get_one(Round, 1).state = "closed"
    assert (resettle(session, TREE), query(session).state) == (1, "answered")


def test_who_changes_their_mind_settles_it(session: Session) -> None:
    give(session, "q0", ann="rock", bob="pet/cat")
    query(session).state = "pushed"
    give(session, "q0", bob="rock")  # 2 of 2: nobody need be waited for
    assert query(session).state == "answered"


def test_a_round_that_is_over_asks_nobody(session: Session) -> None:
    session.get_one(Round, 1).state = "closed"
    give(session, "q0", ann="rock", bob="pet/cat")
    assert query(session).state == "answered"


def test_answers_that_nobody_asked_for_are_kept_counted_and_told(session: Session) -> None:
    query(session).overlap = 1
    give(session, "q0", ann="rock")
    assert query(session).state == "answered"
    with capture_logs() as logs:
        give(session, "q0", bob="rock")
    row = query(session)
    assert (row.state, row.surplus, row.extra) == ("answered", 1, False)
    assert logs[0]["annotators"] == ["ann", "bob"] and logs[0]["log_level"] == "warning"
    kept = session.scalars(select(AnnotationRow).where(AnnotationRow.query_uid == "q0")).all()
    assert [one.annotator for one in kept] == ["ann", "bob"]


def test_a_third_settles_what_two_were_not_both_asked(session: Session) -> None:
    query(session).overlap = 1
    give(session, "q0", ann="rock", bob="pet/cat")
    row = query(session)
    assert (row.state, row.overlap, row.surplus) == ("disputed", 3, 1)
    give(session, "q0", cat="pet/cat")
    row = query(session)
    assert (row.state, row.surplus) == ("answered", 1)
    assert training_labels(session)["img_0"] == {LABEL: "pet/cat"}


def test_weighted_by_who_was_right_before(session: Session) -> None:
    """Ann was right in q9 and q1, Bob in q9 alone: of the two Ann is believed."""
    query(session, "q1").overlap = 3
    give(session, "q1", ann="rock", bob="pet/cat", cat="rock")
    session.get_one(Round, 1).state = "closed"
    give(session, "q0", ann="pet/dog", bob="rock")
    assert training_labels(session)["img_0"] == {LABEL: "rock"}  # by heads: the latest
    give(session, "q2", by="weighted", ann="pet/dog", bob="rock")
    # Ann: q9, q1 → r = 3/4, log(3 · 2) = 1.79; Bob: q9 right, q1 wrong → r = 2/4, log(2) = 0.69.
    assert training_labels(session)["img_2"] == {LABEL: "pet/dog"}
