"""Rounds that ask several people about each image."""

from rounds_support import Notes, queries

from atlas.batches import Ask
from atlas.labels import record
from atlas.project import Project
from atlas.round_state import is_complete
from atlas.rounds import open_round, push_round
from atlas.settings_file import change_setting
from atlas.status import status
from atlas.types import LABEL, Annotation, utc_now


def say(project: Project, uid: str, person: str, value: str) -> None:
    annotation = Annotation(f"{person}-{uid}", uid, "submitted", utc_now(), {LABEL: value}, person)
    with project.database.session() as session:
        record(session, [annotation], received_by="poll", taxonomy=project.taxonomy)


def complete(project: Project) -> bool:
    with project.database.reader() as session:
        return is_complete(session, 1)


def test_a_round_waits_for_everybody_and_asks_one_more(project: Project) -> None:
    change_setting(project.directory, "label_studio", "overlap", 2)
    change_setting(project.directory, "audit", "per_round", 0)
    project = Project(project.directory)
    oracle = Notes(project)
    open_round(project, Ask(n=2))
    assert push_round(project, oracle) == 2
    assert [query.overlap for query in oracle.pushed[0]] == [2, 2]
    assert push_round(project, oracle) == 0  # they are all there
    first, second = (row.uid for row in queries(project, 1))
    one, other = project.taxonomy.leaves[:2]
    for person in ("ann", "bob"):
        say(project, first, person, one)
    say(project, second, "cat", one)
    assert not complete(project)  # the second one wants another answer
    say(project, second, "ann", other)
    assert not complete(project)  # 1 of 2 is no majority, and Bob was not asked
    assert push_round(project, oracle) == 1
    (again,) = oracle.pushed[1]
    assert (again.uid, again.overlap) == (second, 3)
    say(project, second, "bob", other)
    assert complete(project)
    assert status(project)["disagreements"] == {
        "answered_unasked": 0,
        "one_more_asked": 1,
        "unsettled": 0,
    }
