"""A person at Label Studio, in Chromium."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import Locator, Page, sync_playwright

from services.label_studio import Login

CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def open_page(chromium: str) -> Iterator[Page]:
    """An empty page in a fresh browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(20_000)
        yield page
        browser.close()


def start_labelling(page: Page, login: Login, labelling_url: str) -> None:
    """Log in and press "Label All Tasks", the one way that follows the priorities and locks."""
    parts = urlsplit(labelling_url)
    page.goto(f"{parts.scheme}://{parts.netloc}/user/login/")
    page.fill("input[name=email]", login.email)
    page.fill("input[name=password]", login.password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "/user/login" not in url)
    page.goto(labelling_url)
    page.get_by_role("button", name="Label All Tasks").click()
    page.locator(".atlas-picture img").first.wait_for()


def ticked(page: Page) -> Locator:
    """The choices that are ticked; their text ends with their key."""
    return page.locator(".atlas-answers label:has(input:checked)")
