"""The page of the annotators: what is compared with what. What the queue does not tell them."""

from dataclasses import replace
import re

from fastapi.testclient import TestClient
import pytest
from sqlalchemy import update

from atlas.labels import record
from atlas.oracle.simulated import SimulatedOracle
from atlas.project import TAXONOMY_FILE, Project
from atlas.rounds import open_round, push_round
from atlas.store.tables import AccuracyRow, AnnotationRow
from atlas.taxonomy import Taxonomy
from atlas.taxonomy_file import save_taxonomy
from atlas.types import Annotation, utc_now
from services.api import create_app
from tests.dashboard_support import faults, sign_in, token
from tests.rounds_support import go_round, queries

LED = "may follow guesses"


def test_guesses_are_compared_with_the_model_at_the_same_level(
    project: Project, client: TestClient
) -> None:
    """Eight of eight guesses kept, 67.6 to 100%: too many for a model right in 18 to 61%."""
    go_round(project)
    with project.database.session() as session:
        session.execute(update(AnnotationRow).values(prefill="accepted"))
        for level, correct in (("family", 6), ("shape", 16)):
            same = (AccuracyRow.model_id == "m0001", AccuracyRow.level == level)
            session.execute(update(AccuracyRow).where(*same).values(correct=correct, n=16))
    family = client.get("/annotators?level=family").text
    shape = client.get("/annotators?level=shape").text
    assert "the model is right about family 37.5% of the time" in family and LED in family
    assert "the model is right about shape 100.0% of the time" in shape and LED not in shape


@pytest.fixture
def weighed(project: Project, taxonomy: Taxonomy) -> Project:
    """Two people weighed each thing of a round: three differ, the fourth is within 5% of 100."""
    save_taxonomy(replace(taxonomy, quantities=("weight",)), project.directory / TAXONOMY_FILE)
    project = Project(project.directory)
    open_round(project)
    push_round(project, SimulatedOracle(project))
    asked = [row for row in queries(project, 1) if row.kind == "query"]
    with project.database.session() as session:
        given = [
            Annotation(f"{who}-{row.uid}", row.uid, "submitted", utc_now(), values, who)
            for place, row in enumerate(asked)
            for who, weight in (("ann", 100), ("bob", 200 if place < 3 else 102))
            for values in ({"label": project.taxonomy.leaves[0], "weight": str(weight)},)
        ]
        record(session, given, received_by="poll", taxonomy=project.taxonomy)
    return project


def test_numbers_that_differ_are_listed_too(weighed: Project) -> None:
    with TestClient(create_app(weighed.directory), base_url="http://127.0.0.1") as client:
        shape = client.get("/annotators?level=shape").text
        weight = client.get("/annotators?level=weight").text
    assert faults(weight) == []
    assert "None at shape" in shape
    assert "Numbers agree within 5% of their median" in weight
    assert "3 images have no answer at weight" in weight
    assert weight.count("<b>100</b>") == weight.count("<b>200</b>") == 3
    assert weight.count("counts as 150, the median") == 3
    assert "102" not in re.sub(r'="[^"]*"', "", weight)  # the mean 101 has both within 5%
    assert "Who labels how" in shape and "Who labels how" not in weight


def test_who_labels_is_not_told_which_images_measure(project: Project) -> None:
    open_round(project)
    with TestClient(create_app(project.directory), base_url="http://127.0.0.1") as client:
        hidden = client.get("/queue").text
        assert sign_in(client, token(project)) == 303
        told = client.get("/queue").text
    blind = [one for one in queries(project, 1) if one.blind] + queries(project, 1, "audit")
    assert {one.kind for one in blind} == {"audit", "query"}
    assert told.count(">measures<") == 4 and ">measures<" not in hidden
    rows = [re.sub(r"\s+", " ", row) for row in re.findall(r"(?s)<tr>.*?</tr>", hidden)]
    places = {row.image_id: next(one for one in rows if row.image_id in one) for row in blind}
    alike = {re.sub(r"img_\w+|[Ii]mage \d+|>\d+<|\"[^\"]*\"", "", one) for one in places.values()}
    assert told.count("drawn at random, to measure") == 4
    assert len(alike) == 1  # an audit image reads as a query without a guess does
