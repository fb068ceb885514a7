"""A person at Label Studio, in Chromium."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Locator, Page, sync_playwright

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
PATIENCE_MS = 60_000


@contextmanager
def open_browser(chromium: str) -> Iterator[Browser]:
    """A browser of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


def new_page(browser: Browser) -> Page:
    """A page that shares neither cookies nor memory with any other: somebody else's browser."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(PATIENCE_MS)
    return page


@contextmanager
def open_page(chromium: str) -> Iterator[Page]:
    """An empty page in a fresh browser."""
    with open_browser(chromium) as browser:
        yield new_page(browser)


def start_labelling(page: Page, login: Login, address: str) -> None:
    """Go where annotators are sent, and log in."""
    page.goto(address)
    page.fill("input[name=email]", login.email)
    page.fill("input[name=password]", login.password)
    page.click("button[type=submit]")
    button = page.get_by_role("button", name="Label All Tasks")
    page.locator(".atlas-picture img").first.or_(button).first.wait_for()
    if button.is_visible():  # the start page of a server that is elsewhere
        button.click()
    page.locator(".atlas-picture img").first.wait_for()


def ticked(page: Page) -> Locator:
    """The choices that are ticked; their text ends with their key."""
    return page.locator(".atlas-answers label:has(input:checked)")
