"""Of each round as many queries are asked blind as audit images, and nobody can tell them apart."""

from collections.abc import Iterable
from dataclasses import fields
import re

from rounds_support import Notes, asked, go_round, queries

from atlas.batches import Ask
from atlas.blinding import BLIND_REASON
from atlas.choosing import AUDIT_REASON
from atlas.labels import training_labels
from atlas.oracle import _push
from atlas.project import Project
from atlas.rounds import close_round, collect, open_round, push_round
from atlas.store.tables import QueryRow
from atlas.types import LABEL, Query

KINDS = ("query", "audit")


def told_and_blind(rows: Iterable[QueryRow]) -> tuple[list[QueryRow], list[QueryRow]]:
    found = list(rows)
    return [row for row in found if not row.blind], [row for row in found if row.blind]


def test_the_model_guesses_for_queries_that_are_not_blind(project: Project) -> None:
    """Four audit images, so four of the ten queries are blind too."""
    go_round(project)
    open_round(project, Ask(n=10))
    batch, audit = queries(project, 2), queries(project, 2, "audit")
    told, blind = told_and_blind(batch)
    assert (len(told), len(blind), len(audit)) == (6, 4, 4)
    for row in told:
        assert row.guess[LABEL] in project.taxonomy.leaves
        assert 0.25 <= row.confidence[LABEL] <= 1
    assert all((row.guess, row.confidence) == ({}, {}) for row in [*blind, *audit])
    assert all(row.reason.startswith("like many images of the pool") for row in batch)
    assert {row.reason for row in audit} == {AUDIT_REASON}


def test_an_oracle_cannot_tell_an_audit_image_from_a_blind_query(project: Project) -> None:
    """In the first round, where nobody has a guess, by the same rule as later."""
    oracle = Notes(project)
    for number in (1, 2):
        open_round(project, Ask(n=8))
        push_round(project, oracle)
        rows = {row.uid: row for kind in KINDS for row in queries(project, number, kind)}
        told, blind = told_and_blind(rows.values())
        assert (len(told), len(blind)) == (4, 4 + 4)
        for query in oracle.pushed[-1]:
            hidden = rows[query.uid] in blind
            assert (query.reason == BLIND_REASON) == hidden
            assert bool(query.guess) == bool(query.confidence) == (number == 2 and not hidden)
        known = {field.name for field in fields(Query)}
        assert known == {
            *("uid", "image_id", "priority", "location", "guess", "confidence", "reason", "overlap")
        }
        collect(project, oracle)
        close_round(project)


def test_where_audit_images_are_many_half_of_the_queries_have_a_guess(project: Project) -> None:
    """Four audit images to three queries: two of the three are blind, not all."""
    go_round(project)
    open_round(project, Ask(n=3))
    told, blind = told_and_blind(queries(project, 2))
    assert (len(told), len(blind)) == (1, 2)
    assert [bool(row.guess) for row in (*told, *blind)] == [True, False, False]


def test_blind_queries_teach_as_the_others_do(project: Project) -> None:
    go_round(project, Ask(n=8))
    with project.database.reader() as session:
        learned = set(training_labels(session))
    assert learned == asked(project, 1)
    assert sum(row.blind for row in queries(project, 1)) == 4


def test_without_audit_images_nothing_is_blind(project: Project) -> None:
    for _ in range(2):
        go_round(project)
    open_round(project)
    assert queries(project, 3, "audit") == []  # all eight were asked about
    assert all(row.guess and not row.blind for row in queries(project, 3))


def test_nothing_in_a_task_tells_them_apart(project: Project) -> None:
    """Every word and key that goes to Label Studio; what may differ is which image it is."""
    go_round(project)
    oracle = Notes(project)
    open_round(project, Ask(n=8))
    push_round(project, oracle)
    rows = {row.uid: row for kind in KINDS for row in queries(project, 2, kind)}
    masked = {"query": set(), "audit": set()}
    for query in oracle.pushed[0]:
        row = rows[query.uid]
        if not row.blind:
            continue
        task = _push.task(project, query, "round 00002")
        assert re.fullmatch(r"q_[0-9a-f]{24}", task["data"].pop("uid"))
        assert task["data"].pop("image_id") == row.image_id
        picture = f"/data/local-files/?d=images/{row.image_id}.png"
        assert task["data"].pop("image") == picture
        assert re.fullmatch(r"img_[0-9a-f]{16}", row.image_id)
        assert task["predictions"][0].pop("score") == row.priority
        masked[row.kind].add(repr(task))
    told = "Chosen by Atlas: to be answered without a guess, so that nothing sways you"
    same = {
        "data": {"reason": told},
        "predictions": [{"model_version": "round 00002", "result": []}],
    }
    assert masked == {"query": {repr(same)}, "audit": {repr(same)}}
