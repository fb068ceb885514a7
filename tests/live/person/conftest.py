"""A live system, twice, and who is known there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page
import pytest

from atlas.settings import Settings
from atlas.settings_file import change_setting
from atlas.taxonomy import Taxonomy
from atlas.tokens import Role, create
from tests.live import composed, embedded
from tests.live.browser import new_page, open_browser
from tests.live.person.callers import Caller, LabelStudio, client
from tests.live.person.people import Annotator, Given, Live, Reader

TOLD: tuple[embedded.Told, ...] = (
    ("service", "tick_s", 1.0),
    ("service", "reconcile_s", 60.0),  # so that no poll brings what the webhook should
    ("service", "auto_rounds", False),  # the engineer asks
    ("finetune", "held_out", 0.9),  # of 17 labels: more than the 10 that must judge
    ("finetune", "steps", 100_000),
    ("finetune", "workers", 0),
)


@contextmanager
def atlas_up(request: pytest.FixtureRequest, folder: Path) -> Iterator[embedded.System]:
    template: Path = request.getfixturevalue("project_template")
    with embedded.running(embedded.copy_project(template, folder / "project", TOLD)) as system:
        yield system


@contextmanager
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[composed.Server]:
    settings: Settings = request.getfixturevalue("settings")
    taxonomy: Taxonomy = request.getfixturevalue("taxonomy")
    pool: Path = request.getfixturevalue("tiny_pool")
    with (
        composed.running_stores(folder) as stores,
        composed.made_server(folder, stores, settings, taxonomy, pool) as made,
    ):
        for one in TOLD:
            change_setting(made.directory, *one)
        made.start_all()
        yield made


@pytest.fixture(scope="module", params=[atlas_up, server], ids=["embedded", "server"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with request.param(request, tmp_path_factory.mktemp("live")) as found:
        yield found


@pytest.fixture(scope="module")
def tokens(live: Any) -> dict[Role, str]:
    database = live.project.database
    with database.session() as session:
        made = {role: create(session, role, name=f"the {role}").token for role in Role}
    database.engine.dispose()
    return made


@pytest.fixture(scope="module")
def engineer(live: Live, tokens: dict[Role, str]) -> Iterator[Caller]:
    with client(live.api, f"Bearer {tokens[Role.ENGINEER]}") as http:
        yield Caller(http)


@pytest.fixture(scope="module")
def viewer(live: Live, tokens: dict[Role, str]) -> Iterator[Caller]:
    with client(live.api, f"Bearer {tokens[Role.VIEWER]}") as http:
        yield Caller(http)


@pytest.fixture(scope="module")
def nobody(live: Live) -> Iterator[httpx.Client]:
    """Speaks to Atlas without a token."""
    with client(live.api) as http:
        yield http


@pytest.fixture
def label_studio(live: Live) -> Iterator[LabelStudio]:
    with client(live.label_studio, f"Token {live.login.token}") as http:
        yield LabelStudio(http, live)


@pytest.fixture(scope="module")
def given(live: Live) -> Given:
    return Given()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with open_browser(chromium) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = new_page(browser)
    yield page
    page.context.close()


@pytest.fixture
def as_engineer(page: Page, live: Live, tokens: dict[Role, str]) -> Reader:
    return Reader(page, live, tokens[Role.ENGINEER])


@pytest.fixture
def as_viewer(page: Page, live: Live, tokens: dict[Role, str]) -> Reader:
    return Reader(page, live, tokens[Role.VIEWER])


@pytest.fixture(scope="module")
def annotator(browser: Browser, live: Live) -> Iterator[Annotator]:
    page = new_page(browser)
    yield Annotator(page, live)
    page.context.close()
