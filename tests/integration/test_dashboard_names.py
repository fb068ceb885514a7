"""Names for people, reminders on the schedule page, and figures that are worked out once."""

import csv

from fastapi.testclient import TestClient
import pytest

from atlas.analysis.names import names
from atlas.analysis.people import team
from atlas.labels import record
from atlas.oracle._people import name_of
from atlas.oracle.simulated import SimulatedOracle
from atlas.project import Project
from atlas.rounds import open_round, push_round
from atlas.settings import RemindersSettings
from atlas.settings_file import change_setting
from atlas.store.tables import PersonRow, ReminderRow
from atlas.types import Annotation, utc_now
from services.api import create_app
from services.dashboard.reminders import reminders, ways_of
from tests.dashboard_support import faults
from tests.rounds_support import queries

SECRET = "B00-very-secret"


def answer(project: Project, uid: str, who: str, leaf: str) -> None:
    given = Annotation(f"{who}-{uid}", uid, "submitted", utc_now(), {"label": leaf}, who)
    with project.database.session() as session:
        record(session, [given], received_by="poll", taxonomy=project.taxonomy)


@pytest.fixture
def asked(project: Project) -> Project:
    """A round of four queries; two people are at odds about the first."""
    open_round(project)
    push_round(project, SimulatedOracle(project))
    leaves = project.taxonomy.leaves
    for who, leaf in (("ls:1", leaves[0]), ("ls:2", leaves[1])):
        answer(project, queries(project, 1)[0].uid, who, leaf)
    with project.database.session() as session:
        session.add(PersonRow(id="ls:1", name="Ann Lee"))
    return project


def test_people_are_called_by_their_names(asked: Project, client: TestClient) -> None:
    overview, annotators = client.get("/").text, client.get("/annotators").text
    for page in (overview, annotators):
        assert "Ann Lee" in page and "ls:1" not in page
        assert "ls:2" in page  # nobody has told what they are called
    assert annotators.count("Ann Lee") == 2  # in the table, and at odds
    exported = client.get("/api/v1/labels.jsonl").text
    assert '"annotator": "ls:1", "name": "Ann Lee"' in exported
    assert '"annotator": "ls:2", "name": null' in exported
    rows = csv.DictReader(client.get("/api/v1/labels.csv").text.splitlines())
    assert "ls:1;ls:2" in {row["annotators"] for row in rows}


def test_two_people_of_one_name_are_told_apart(project: Project) -> None:
    with project.database.session() as session:
        for number in (1, 2):
            session.add(PersonRow(id=f"ls:{number}", name="Ann Lee"))
        session.add(PersonRow(id="ls:3", name="Bo"))
    called = names(project)
    said = [called(one) for one in ("ls:1", "ls:2", "ls:3", "ls:4", "")]
    assert said == ["Ann Lee (ls:1)", "Ann Lee (ls:2)", "Bo", "ls:4", "unknown"]


def test_a_name_is_first_and_last_else_the_address() -> None:
    user = {"id": 1, "email": "ann@example.org", "username": "ann"}
    assert name_of({**user, "first_name": "Ann", "last_name": "Lee"}) == "Ann Lee"
    assert name_of({**user, "first_name": " ", "last_name": "Lee"}) == "Lee"
    assert name_of({**user, "first_name": "", "last_name": None}) == "ann@example.org"
    assert name_of({"id": 1}) == ""


def test_a_team_is_worked_out_again_once_somebody_answers(asked: Project) -> None:
    before = team(asked, "shape")
    assert team(asked, "shape") is before
    assert team(asked, "family") is not before
    answer(asked, queries(asked, 1)[1].uid, "ls:2", asked.taxonomy.leaves[2])
    after = team(asked, "shape")
    assert [one.answered for one in before.people] == [1, 1]
    assert [(one.annotator, one.answered) for one in after.people] == [("ls:2", 2), ("ls:1", 1)]


def test_the_schedule_page_says_that_reminders_are_off(client: TestClient) -> None:
    page = client.get("/schedule").text
    assert "Off: nobody is reminded." in page and faults(page) == []


def test_the_schedule_page_shows_reminders_without_their_secrets(empty_project: Project) -> None:
    settings = {
        "cron": "0 9 * * *",
        "zone": "Europe/Berlin",
        "slack": f"https://hooks.example.org/services/{SECRET}",
        "webhook": f"http://me:{SECRET}@10.0.0.7:99/{SECRET}",
        "email_to": ["ann@example.org", "bob@example.org"],
        "email_from": "atlas@example.org",
        "smtp_host": "mail.example.org",
        "smtp_password": SECRET,
    }
    for name, value in settings.items():
        change_setting(empty_project.directory, "reminders", name, value)
    with empty_project.database.session() as session:
        for number, send in enumerate((False, True)):
            session.add(
                ReminderRow(
                    occasion=utc_now(),
                    at=utc_now(),
                    send=send,
                    reason="4 images are waiting" if send else "not reminded: no image is waiting",
                    waiting=4 * number,
                    deliveries={"slack": "delivered", "email": "failed: no answer"} if send else {},
                    over=True,
                )
            )
    with TestClient(create_app(empty_project.directory), base_url="http://127.0.0.1") as client:
        page = client.get("/schedule").text
    assert faults(page) == []
    assert (
        "webhook at 10.0.0.7, chat at hooks.example.org, e-mail to 2 people through "
        "mail.example.org" in page
    )
    assert ", 09:00</time> Europe/Berlin" in page
    assert page.index("chat: delivered") < page.index("not reminded: no image is waiting")
    assert "e-mail: failed: no answer" in page and "0 images are waiting" in page
    for hidden in (SECRET, "ann@example.org", "me:"):
        assert hidden not in page


def test_reminders_that_cannot_be_sent_say_why(empty_project: Project) -> None:
    change_setting(empty_project.directory, "reminders", "cron", "0 9 * * *")
    assert "nowhere to send" in reminders(Project(empty_project.directory)).wrong
    change_setting(empty_project.directory, "reminders", "email_to", ["ann@example.org"])
    assert "reminders.smtp_host" in reminders(Project(empty_project.directory)).wrong
    one = RemindersSettings(email_to=["ann@example.org"], smtp_host="mail.example.org")
    assert ways_of(one) == ["e-mail to 1 person through mail.example.org"]
