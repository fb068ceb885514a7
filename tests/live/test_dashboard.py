"""Every page in Chromium: loaded, clicked through, looked at; by keyboard and without script."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Route,
)
import pytest
from sqlalchemy import update

from atlas import promotion
from atlas.project import Project
from atlas.store.tables import Job
from atlas.types import utc_now
from services import jobs
from services.dashboard.navigation import navigation
from services.retraining import keeping
from tests.dashboard_support import faults, served, token
from tests.rounds_support import go_round

pytestmark = [pytest.mark.live, pytest.mark.slow]

SIZES = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 400, "height": 800}}
FOCUS = """() => {
  const one = document.activeElement, style = getComputedStyle(one);
  return [one.tagName, one.textContent.trim().slice(0, 40), style.outlineStyle, style.outlineWidth];
}"""

REASON = "new lights in the shop, so that the old backbone is no longer right, or so they say there"
SEEN_WHOLE = {  # tables that have to fit; of the others the left is seen, and the rest scrolled to
    "wide": ".scroll:has(.tight), #jobs-table",
    "narrow": ".scroll:has(.tight)",
}
TO_THE_END = "one => one.scrollHeight - one.clientHeight - one.scrollTop"


@pytest.fixture
def labelled(project: Project) -> Project:
    """Two rounds answered, none open; a fine-tune runs; the heads have a schedule."""
    for _ in range(2):
        go_round(project)
    keeping.set_schedule(project, "heads", {"cron": "0 3 * * *", "after_labels": 50})
    keeping.carry_out(project)
    jobs.request(project.database, "finetune", arguments={"reason": REASON, "by": "Bo"})
    assert jobs.start(project.database, "finetune", holder="test")
    say(project, 120)
    (project.run / "worker.log").write_text("2026-01-02 09:00:00Z [info] begins job=finetune\n")
    return project


def say(project: Project, done: int) -> None:
    jobs.progress(project.database, "finetune", {"done": done, "total": 480})


@pytest.fixture
def address(labelled: Project) -> Iterator[str]:
    with served(labelled.directory) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with watched(browser.new_context(viewport=SIZES["wide"])) as page:
        yield page


@contextmanager
def watched(context: BrowserContext) -> Iterator[Page]:
    """A page; fails afterwards where a script failed or somebody else was asked for something."""
    complaints: list[str] = []

    def refuse(route: Route) -> None:
        complaints.append(f"asks {route.request.url}")
        route.abort()

    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if is_fault(said) else None)
    page.route(lambda url: not url.startswith("http://127.0.0.1:"), refuse)
    yield page
    context.close()
    assert complaints == []


def is_fault(said: ConsoleMessage) -> bool:
    """Whether the browser complains; that a form was refused it says as well."""
    return said.type == "error" and "status of 422" not in said.text


def sign_in(page: Page, address: str, project: Project) -> None:
    page.goto(f"{address}/sign-in")
    page.get_by_label("Token").fill(token(project))
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.get_by_text("Signed in as").wait_for(state="attached")  # hidden on a telephone


def open_by_the_way(page: Page, title: str) -> None:
    """Go to a page as a person does: by its link."""
    page.get_by_role("navigation", name="Pages").get_by_role("link", name=title, exact=True).click()
    page.locator("h1").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_loads_and_fits(
    browser: Browser, address: str, labelled: Project, scheme: str
) -> None:
    shots = labelled.run / "shots"
    shots.mkdir()
    for size, viewport in SIZES.items():
        context = browser.new_context(viewport=viewport, color_scheme=scheme)
        with watched(context) as page:
            sign_in(page, address, labelled)
            for entry in navigation(labelled, "/"):
                page.goto(address)
                open_by_the_way(page, entry.title)
                settle(page)
                for table in page.locator(SEEN_WHOLE[size]).all():
                    assert table.evaluate("one => one.scrollWidth - one.clientWidth") == 0, size
                wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert wider <= 0, f"{entry.title} is {wider} pixels too wide, {size}"
                assert faults(page.content()) == [], entry.title
                shot(page, shots / f"{entry.title}-{scheme}-{size}.png")


def settle(page: Page) -> None:
    """Wait until the plots are drawn."""
    for plot in page.locator(".plot[data-figure]").all():
        plot.locator(".main-svg").first.wait_for()


def shot(page: Page, path: Path) -> None:
    page.screenshot(path=path, full_page=True)
    assert path.stat().st_size > 10_000


def test_a_person_with_a_keyboard_sees_where_they_are(page: Page, address: str) -> None:
    page.goto(address)
    seen = []
    for _ in range(14):
        page.keyboard.press("Tab")
        tag, text, style, width = page.evaluate(FOCUS)
        seen.append(text)
        assert style != "none" and float(width.removesuffix("px")) >= 2, (tag, text)
    assert seen[0] == "Skip to the content"
    assert {"Overview", "Models", "Schedule", "Jobs", "Sign in"} <= set(seen)
    page.goto(address)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_the_pages_read_without_script(browser: Browser, address: str, labelled: Project) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, address, labelled)
    page.goto(address)
    assert page.locator(".plot").is_hidden()
    page.get_by_text("The same as a table").first.click()
    assert page.get_by_role("cell", name="%").first.is_visible()
    page.goto(f"{address}/schedule")
    page.locator("#finetune-after_labels").fill("200")
    page.locator("form[action='/schedule/finetune']").get_by_role("button", name="Save").click()
    assert page.get_by_role("status").inner_text().startswith("Saved")
    assert keeping.overview(labelled)["finetune"]["schedule"]["after_labels"] == 200
    context.close()


def test_an_engineer_works_through_the_pages(page: Page, address: str, labelled: Project) -> None:
    sign_in(page, address, labelled)
    open_by_the_way(page, "Models")
    page.get_by_role("button", name="Roll back to m0001").click()
    page.get_by_text("Rolled back: ").wait_for()
    page.get_by_role("button", name="Promote m0002").click()
    page.get_by_text("It answers from now on.").wait_for()
    with labelled.database.reader() as session:
        assert promotion.current_id(session) == "m0002"
    open_by_the_way(page, "Schedule")
    page.locator("#heads-cron").fill("0 3 * *")
    page.locator("form[action='/schedule/heads']").get_by_role("button", name="Save").click()
    alert = page.get_by_role("alert")
    assert "has 4 fields" in alert.inner_text()
    assert alert.evaluate("one => one === document.activeElement")
    alert.get_by_role("link").click()
    assert page.evaluate("document.activeElement.id") == "heads-cron"
    page.locator("#heads-cron").fill("30 4 * * *")
    page.locator("form[action='/schedule/heads']").get_by_role("button", name="Save").click()
    page.get_by_text("Saved.").wait_for()
    runs = page.locator("ol.next li").all_inner_texts()
    assert len(runs) == 5 and all("04:30" in one for one in runs)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("link", name="Sign in").first.wait_for()
    assert page.get_by_role("button", name="Save").count() == 0


def test_progress_moves_while_somebody_looks(page: Page, address: str, labelled: Project) -> None:
    sign_in(page, address, labelled)
    page.goto(address)
    bar = page.get_by_role("progressbar", name="Fine-tune the backbone")
    assert bar.get_attribute("value") == "120"
    say(labelled, 240)
    page.get_by_role("progressbar", name="Fine-tune the backbone: 50.0% done").wait_for()
    page.goto(f"{address}/jobs/finetune")
    page.get_by_text("begins job=finetune").wait_for()
    page.get_by_role("button", name="Stop").focus()
    say(labelled, 360)  # an event of the server, long before the clock
    page.get_by_role("progressbar", name="Fine-tune the backbone: 75.0% done").wait_for()
    assert page.evaluate("document.activeElement.id") == "stop"
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("stopping").first.wait_for()
    with labelled.database.session() as session:
        over = {"state": "failed", "error": "no labels", "finished_at": utc_now()}
        session.execute(update(Job).where(Job.id == "finetune").values(**over))
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("Asked for once more.").wait_for()
    with labelled.database.reader() as session:
        assert session.get_one(Job, "finetune").state == "queued"


def test_a_part_that_renews_itself_stays_where_the_reader_is(
    page: Page, address: str, labelled: Project
) -> None:
    page.set_viewport_size(SIZES["narrow"])
    log_lines(labelled, 60)
    page.goto(f"{address}/jobs/finetune")
    log = page.locator(".log")
    assert log.evaluate(TO_THE_END) < 2  # the newest lines are seen at once
    renew(page, labelled, 61)
    assert log.evaluate(TO_THE_END) < 2
    log.evaluate("one => { one.scrollTop = 200; }")
    renew(page, labelled, 62)
    assert log.evaluate("one => one.scrollTop") == 200
    page.goto(f"{address}/jobs")
    table = page.locator("#jobs-table")
    table.evaluate("one => { one.scrollLeft = 150; }")
    say(labelled, 300)
    page.get_by_role("progressbar", name="62.5% done").wait_for()
    assert table.evaluate("one => one.scrollLeft") == 150


def log_lines(project: Project, count: int) -> None:
    lines = [
        f"2026-01-02 09:{one // 60:02}:{one % 60:02}Z [info] step {one} job=finetune"
        for one in range(count)
    ]
    (project.run / "worker.log").write_text("\n".join(lines) + "\n")


def renew(page: Page, project: Project, done: int) -> None:
    """Log a line more, and wait until the page of the job shows it."""
    log_lines(project, done)
    say(project, done)
    page.get_by_text(f"step {done - 1} job=finetune").wait_for()


def test_dark_or_light_is_kept(page: Page, address: str) -> None:
    page.goto(address)
    settle(page)
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Dark colours").click()
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    assert page.get_by_role("button", name="Light colours").is_visible()
