"""What people have not settled, at the level or attribute that is looked at."""

from datetime import timedelta
from pathlib import Path

import pytest
from rows_support import image_row, query_row

from atlas.analysis.disagreements import disagreements
from atlas.labels import record
from atlas.project import Project
from atlas.settings import Settings
from atlas.settling import count_unasked, count_unsettled
from atlas.store.tables import Round
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL, Annotation, utc_now

TREE = Taxonomy(
    ("kind", "species"), ("pet/cat", "pet/dog", "rock"), {"colour": ("red", "blue")}, ("length",)
)
IMAGES = 5
START = utc_now() - timedelta(hours=1)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Round 1 asks two people about each of five images."""
    project = Project.create(tmp_path / "project", Settings(), TREE)
    with project.database.session() as session:
        session.add(Round(number=1, state="open", sampler="random", steps=[]))
        for number in range(IMAGES):
            session.add(image_row(number))
        session.flush()
        for number in range(IMAGES):
            session.add(query_row(f"q{number}", number, overlap=2, task_id=str(10 + number)))
    return project


def give(project: Project, number: int, **people: str | dict[str, str]) -> None:
    """Each person's answer, one after the other: a path, or task → value."""
    with project.database.session() as session:
        for minutes, (person, said) in enumerate(people.items()):
            annotation = Annotation(
                external_id=f"{person}-{number}",
                query_uid=f"q{number}",
                event="submitted",
                updated_at=START + timedelta(minutes=minutes),
                values={LABEL: said} if isinstance(said, str) else said,
                annotator=person,
            )
            record(session, [annotation], received_by="poll", taxonomy=TREE)


def listed(project: Project, level: str) -> list[str]:
    found = disagreements(project, level, start=0, limit=100)
    assert found.found == len(found.listed)
    return [one.image for one in found.listed]


def test_what_a_majority_has_settled_is_left_out(project: Project) -> None:
    give(project, 0, ann="rock", bob="pet/cat")
    give(project, 1, ann="rock", bob="pet/cat", cat="rock")  # 2 of 3
    give(project, 2, ann="rock", bob="pet/cat", cat="pet/dog")  # 1 of 3
    give(project, 3, ann="rock", bob="rock")
    found = disagreements(project, "species", start=0, limit=10)
    assert [(one.image, one.label) for one in found.listed] == [
        ("img_2", "pet/dog"),  # the latest of three; those most at odds first
        ("img_0", "pet/cat"),
    ]
    assert found.listed[0].agreement == pytest.approx(1 / 3)
    assert found.listed[1].said == {"ann": "rock", "bob": "pet/cat"}
    assert found.listed[1].task == "10"
    with project.database.reader() as session:
        assert count_unsettled(session) == 2


def test_answers_are_compared_at_the_level(project: Project) -> None:
    give(project, 0, ann="pet/dog", bob="pet/cat")
    give(project, 1, ann="rock", bob="pet/cat")
    assert listed(project, "species") == ["img_0", "img_1"]
    assert listed(project, "kind") == ["img_1"]  # dog and cat are pets
    (one,) = disagreements(project, "kind", start=0, limit=1).listed
    assert (one.said, one.label) == ({"ann": "rock", "bob": "pet"}, "pet")


def test_an_attribute_is_compared_too(project: Project) -> None:
    give(
        project,
        0,
        ann={LABEL: "rock", "colour": "red"},
        bob={LABEL: "rock", "colour": "blue"},
        cat={LABEL: "rock"},  # no vote
    )
    assert listed(project, "species") == []
    assert listed(project, "colour") == ["img_0"]
    (one,) = disagreements(project, "colour", start=0, limit=1).listed
    assert (one.said, one.label) == ({"ann": "red", "bob": "blue"}, "blue")


def test_who_stops_half_way_differs_from_who_goes_on(project: Project) -> None:
    give(project, 0, ann="pet/cat", bob="pet")
    assert listed(project, "species") == ["img_0"]
    assert listed(project, "kind") == []


def test_it_says_for_which_somebody_is_asked(project: Project) -> None:
    """Cat has labelled here, so she is asked about what Ann and Bob differ on."""
    give(project, 4, cat="rock")
    give(project, 0, ann="rock", bob="pet/cat")
    give(project, 1, ann="rock", bob="pet/cat", cat="pet/dog")
    found = disagreements(project, "species", start=0, limit=10)
    assert (found.found, found.waiting) == (2, 1)
    assert [(one.image, one.waits) for one in found.listed] == [("img_1", False), ("img_0", True)]
    give(project, 0, cat="rock")
    assert listed(project, "species") == ["img_1"]


def test_the_list_comes_in_parts(project: Project) -> None:
    for number in range(IMAGES):
        give(project, number, ann="rock", bob="pet/cat")
    first = disagreements(project, "species", start=0, limit=3)
    second = disagreements(project, "species", start=3, limit=3)
    assert (first.found, second.found) == (5, 5)
    assert [one.image for one in first.listed] == ["img_0", "img_1", "img_2"]
    assert [one.image for one in second.listed] == ["img_3", "img_4"]


def test_who_answers_unasked_is_counted(project: Project) -> None:
    give(project, 0, ann="rock", bob="rock")
    with project.database.reader() as session:
        assert count_unasked(session) == 0
    give(project, 0, cat="rock")
    with project.database.reader() as session:
        assert count_unasked(session) == 1
