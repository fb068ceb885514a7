"""Reminders reach real servers on this machine, once each, whatever fails in between."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_string
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import socketserver
from threading import Thread
from typing import Any

from celery import Celery
import pytest
from rounds_support import queries, say
from sqlalchemy import select

from atlas.errors import ServiceError, SettingsError
from atlas.oracle.simulated import SimulatedOracle
from atlas.project import Project
from atlas.rounds import open_round, push_round
from atlas.settings_file import change_setting
from atlas.store.tables import Job, ReminderRow
from services import jobs
from services.reminders import keeping
from services.reminders.channels import channels_of
from services.reminders.message import Message, link_of
from services.tasks import look_around

NINE = datetime(2026, 6, 3, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Inbox:
    """A web server that keeps what is posted, and answers as it is told."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, Any], str]] = []
        self.answer = 200
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                inbox.posts.append((self.path, content, self.headers["Idempotency-Key"]))
                self.send_response(inbox.answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


class Post(socketserver.ThreadingTCPServer):
    """A mail server that speaks as much of SMTP (RFC 5321) as a client without extensions needs."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], str]] = []
        self.refuses = False
        super().__init__(("127.0.0.1", 0), _Session)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Session(socketserver.StreamRequestHandler):
    server: Post

    def handle(self) -> None:
        self._say("220 post")
        to: list[str] = []
        while line := self.rfile.readline().decode().strip():
            word = line.split()[0].upper()
            if word == "RCPT":
                to.append(line.split(":", 1)[1].split(">")[0].strip(" <"))
                self._say("550 no such box" if self.server.refuses else "250 ok")
            elif word == "DATA":
                self._say("354 go on")
                self.server.mails.append((to, self._mail()))
                self._say("250 taken")
            elif word == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def _mail(self) -> str:
        lines = []
        while (line := self.rfile.readline().decode().rstrip("\r\n")) != ".":
            lines.append(line)
        return "\n".join(lines)

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    inbox = Inbox()
    thread = Thread(target=inbox.server.serve_forever)
    thread.start()
    yield inbox
    inbox.server.shutdown()
    thread.join()
    inbox.server.server_close()


@pytest.fixture
def post() -> Iterator[Post]:
    with Post() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def waiting(project: Project, inbox: Inbox, post: Post) -> Project:
    """Four queries and four audit images wait; told at nine, by all three channels."""
    settings: dict[str, object] = {
        "cron": "0 9 * * *",
        "link": "http://label.here/",
        "webhook": f"{inbox.url}/hook?key=secret",
        "slack": f"{inbox.url}/slack",
        "email_to": ["ann@localhost", "bob@localhost"],
        "email_from": "atlas@localhost",
        "smtp_host": "127.0.0.1",
        "smtp_port": post.port,
        "smtp_security": "none",
    }
    for key, value in settings.items():
        change_setting(project.directory, "reminders", key, value)
    found = Project(project.directory)
    open_round(found)
    push_round(found, SimulatedOracle(found))
    assert keeping.carry_out(found, now=NINE - MINUTE) == []  # from now on it holds
    return found


def rows(project: Project) -> list[ReminderRow]:
    with project.database.reader() as session:
        return list(session.scalars(select(ReminderRow).order_by(ReminderRow.id)))


def test_it_reaches_every_channel(waiting: Project, inbox: Inbox, post: Post) -> None:
    assert keeping.carry_out(waiting, now=NINE) == ["remind-1"]
    assert keeping.deliver(waiting, 1) == {
        "webhook": "delivered",
        "slack": "delivered",
        "email": "delivered",
    }
    text = f"8 images are waiting to be labelled in {waiting.settings.name}: http://label.here/"
    (hook, content, key), (slack, said, _) = inbox.posts
    assert (hook, slack) == ("/hook?key=secret", "/slack")
    assert key == "atlas-reminder-1"
    assert content == {
        "event": "images_waiting",
        "reminder": 1,
        "project": waiting.settings.name,
        "waiting": 8,
        "link": "http://label.here/",
        "text": text,
    }
    assert said == {"text": text}
    ((to, mail),) = post.mails
    read = message_from_string(mail)
    assert to == ["ann@localhost", "bob@localhost"]
    assert read["Subject"] == f"8 images are waiting: {waiting.settings.name}"
    assert str(read.get_payload()).strip() == text
    assert [(row.send, row.over, row.tries) for row in rows(waiting)] == [(True, True, 1)]


def test_of_several_schedulers_one_asks(waiting: Project) -> None:
    others = [Project(waiting.directory) for _ in range(4)]
    found: list[list[str]] = []
    threads = [
        Thread(target=lambda one=one: found.append(keeping.carry_out(one, now=NINE)))
        for one in others
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [[], [], [], ["remind-1"]]
    assert len(rows(waiting)) == 1
    assert keeping.carry_out(waiting, now=NINE + MINUTE) == []


def test_the_tick_asks_for_it(waiting: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "utc_now", lambda: NINE)
    look_around(Celery(broker="memory://"), waiting)
    with waiting.database.reader() as session:
        assert session.get_one(Job, "remind-1").kind == keeping.KIND


def test_what_was_delivered_is_not_repeated(waiting: Project, inbox: Inbox, post: Post) -> None:
    """The mail server refuses once; the second try brings the mail alone."""
    keeping.carry_out(waiting, now=NINE)
    post.refuses = True
    with pytest.raises(ServiceError, match="email failed: 127.0.0.1 took no e-mail"):
        keeping.deliver(waiting, 1, now=NINE)
    assert len(inbox.posts) == 2
    jobs.start(waiting.database, "remind-1", holder="me")
    jobs.fail(waiting.database, "remind-1", "refused")
    assert keeping.carry_out(waiting, now=NINE + MINUTE / 2) == []  # a minute is waited
    assert keeping.carry_out(waiting, now=NINE + MINUTE) == ["remind-1"]
    post.refuses = False
    keeping.deliver(waiting, 1, now=NINE + MINUTE)
    assert (len(inbox.posts), len(post.mails)) == (2, 1)
    assert keeping.deliver(waiting, 1)["email"] == "delivered"  # a job that runs twice
    assert (len(inbox.posts), len(post.mails)) == (2, 1)


def test_it_gives_up_after_five_tries(waiting: Project, inbox: Inbox) -> None:
    """Waits of 1, 2, 4 and 8 minutes, then no more."""
    keeping.carry_out(waiting, now=NINE)
    inbox.answer = 503
    now = NINE
    for wait in (1, 2, 4, 8, 1000):
        with pytest.raises(ServiceError, match=r"webhook failed: 127.0.0.1 answered 503"):
            keeping.deliver(waiting, 1, now=now)
        jobs.start(waiting.database, "remind-1", holder="me")
        jobs.fail(waiting.database, "remind-1", "503")
        assert keeping.carry_out(waiting, now=now + (wait - 0.5) * MINUTE) == []
        now += wait * MINUTE
        assert ("remind-1" in keeping.carry_out(waiting, now=now)) == (wait < 1000)
    assert rows(waiting)[0].tries == 5


def test_a_failure_tells_no_secret(waiting: Project, inbox: Inbox) -> None:
    keeping.carry_out(waiting, now=NINE)
    inbox.answer = 404
    with pytest.raises(ServiceError) as error:
        keeping.deliver(waiting, 1)
    assert "secret" not in str(error.value)
    assert "secret" not in str(rows(waiting)[0].deliveries)


def test_nothing_goes_out_when_all_is_answered_meanwhile(waiting: Project, inbox: Inbox) -> None:
    keeping.carry_out(waiting, now=NINE)
    say(waiting, [*queries(waiting, 1), *queries(waiting, 1, "audit")], "skipped")
    assert keeping.deliver(waiting, 1) == {}
    assert inbox.posts == []
    assert keeping.carry_out(waiting, now=NINE + timedelta(days=1)) == []
    assert rows(waiting)[-1].reason == "not reminded: no image is waiting"


def test_every_decision_is_kept_and_shown(waiting: Project) -> None:
    change_setting(waiting.directory, "reminders", "cron", "0 9,12 * * *")
    again = Project(waiting.directory)
    keeping.carry_out(again, now=NINE - MINUTE)  # another schedule: it begins anew
    assert keeping.carry_out(again, now=NINE) == ["remind-1"]
    keeping.deliver(again, 1)
    assert keeping.carry_out(again, now=NINE + timedelta(hours=3)) == []
    shown = keeping.overview(again, now=NINE + timedelta(hours=4))
    assert shown["next"] == "2026-06-04T09:00:00+00:00"
    assert [(one["send"], one["reason"]) for one in shown["last"]] == [
        (False, "not reminded: pause until 2026-06-04 05:00 UTC"),
        (True, "8 images are waiting"),
    ]


def test_half_an_account_is_refused(waiting: Project) -> None:
    settings = waiting.settings.reminders
    with pytest.raises(SettingsError, match="smtp_host"):
        channels_of(settings.model_copy(update={"smtp_host": ""}))
    with pytest.raises(SettingsError, match=r"reminders\.slack is no address"):
        channels_of(settings.model_copy(update={"slack": "hooks.slack.com/x"}))
    none = {"webhook": "", "slack": "", "email_to": []}
    assert channels_of(settings.model_copy(update=none)) == {}


def test_a_server_that_is_not_there(waiting: Project) -> None:
    settings = waiting.settings.reminders.model_copy(update={"webhook": "http://127.0.0.1:9/x"})
    with pytest.raises(ServiceError, match=r"no answer from 127\.0\.0\.1 \(ConnectError\)"):
        channels_of(settings)["webhook"](Message(1, "p", 1, "http://x"))


def test_a_link_is_an_address(waiting: Project) -> None:
    assert link_of(waiting) == "http://label.here/"
    change_setting(waiting.directory, "reminders", "link", "label.here")
    with pytest.raises(SettingsError, match=r"reminders\.link"):
        link_of(Project(waiting.directory))


def test_settings_that_cannot_be_read_stop_nothing_else(waiting: Project) -> None:
    change_setting(waiting.directory, "reminders", "zone", "Mars/Base")
    assert keeping.carry_out(Project(waiting.directory), now=NINE) == []
