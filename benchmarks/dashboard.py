"""How fast the dashboard's pages are on a large project, on the server and in Chromium.

Makes a project with as many rows as months of labelling leave, serves it by a process of its own
and loads every page many times: as a browser that has never been here, and as one that has.

    python benchmarks/dashboard.py /tmp/large --images 50000
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import os
from pathlib import Path
import socket
import statistics
import subprocess
import sys
import time

from dashboard_project import fill
import httpx
from playwright.sync_api import Browser, BrowserContext, ViewportSize, sync_playwright
import psutil

from atlas.project import Project
from services.dashboard.navigation import navigation

BUDGET_MS = 1000.0
PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
COMPLETE = """() => ![...document.querySelectorAll('.plot')].some((one) =>
    !one.querySelector('.main-svg')) && !document.querySelector('[data-map][hidden]')
    && performance.now()"""
PAN = """async () => {
    const canvas = document.querySelector('canvas'), times = [], drawn = [];
    const send = (kind, x) => canvas.dispatchEvent(new PointerEvent(kind,
        { pointerId: 1, clientX: x, clientY: 300, bubbles: true }));
    canvas.setPointerCapture = () => {};
    send('pointerdown', 400);
    let last = performance.now();
    for (let step = 0; step < 90; step += 1) {
        send('pointermove', 400 + 3 * (step % 30) + 6);
        await new Promise(requestAnimationFrame);
        times.push(performance.now() - last);
        last = performance.now();
        drawn.push(Number(canvas.dataset.drawMs));
    }
    send('pointerup', 400);
    return [times.slice(5), drawn.slice(5)];
}"""
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SIZE: ViewportSize = {"width": 1280, "height": 900}


@dataclass(frozen=True)
class Line:
    """What was measured of one page, medians in milliseconds.

    Attributes:
        title: of the page.
        answer: from the request to the last byte.
        cpu: of the server for it.
        paint: to the first paint of a browser that has nothing of ours.
        complete: until its figures stand.
        again: to the first paint of a browser that was here before.
        again_complete: until the figures stand, likewise.
        kib: of the HTML.
    """

    title: str
    answer: float
    cpu: float
    paint: float
    complete: float
    again: float
    again_complete: float
    kib: float

    def __str__(self) -> str:
        times = (self.answer, self.cpu, self.paint, self.complete, self.again, self.again_complete)
        cells = " | ".join(f"{one:.0f}" for one in (*times, self.kib))
        return f"| {self.title} | {cells} |"


def main() -> None:
    """Make the project where it is not there yet, time its pages, print a table.

    Ends with code 1 where the first paint of a page is over the budget.
    """
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("--images", type=int, default=50_000)
    arguments.add_argument("--rounds", type=int, default=150)
    arguments.add_argument("--queries", type=int, default=100, help="a round")
    arguments.add_argument("--repeats", type=int, default=9)
    arguments.add_argument("--pages", nargs="*", help="titles; all of them without")
    arguments.add_argument("--chromium", default="/usr/bin/chromium")
    given = arguments.parse_args()
    if not given.directory.exists():
        fill(given)
    pages = [
        (page.title, page.path)
        for page in navigation(Project(given.directory), "/")
        if not given.pages or page.title in given.pages
    ]
    print("| page | answer | server CPU | first paint | complete | paint again | complete | KiB |")
    print("|---|---|---|---|---|---|---|---|")
    with sync_playwright() as playwright, served(given.directory) as (address, server):
        browser = playwright.chromium.launch(executable_path=given.chromium, args=FLAGS)
        over = []
        for title, path in pages:
            line = measure(title, address + path, (browser, server), given.repeats)
            print(line, flush=True)
            over += [title] if line.paint > BUDGET_MS else []
            if title == "Map":
                print(f"\n{panned(browser, address + path)}\n", flush=True)
        browser.close()
    if over:
        sys.exit(f"over {BUDGET_MS:.0f} ms: {', '.join(over)}")


def measure(title: str, url: str, parts: tuple[Browser, psutil.Process], repeats: int) -> Line:
    """Load a page over and over."""
    browser, server = parts
    answers, kib = [], 0.0
    with httpx.Client(timeout=120) as client:
        client.get(url).raise_for_status()
        before = cpu_ms(server)
        for _ in range(repeats):
            start = time.perf_counter()
            answer = client.get(url)
            answers.append(1000 * (time.perf_counter() - start))
            kib = len(answer.content) / 1024
        cpu = (cpu_ms(server) - before) / repeats
    fresh = []
    for _ in range(repeats):
        context = browser.new_context(viewport=SIZE)
        fresh.append(load(context, url))
        context.close()
    known = browser.new_context(viewport=SIZE)
    load(known, url)
    again = [load(known, url) for _ in range(repeats)]
    known.close()
    medians = [
        statistics.median(one) for one in (*zip(*fresh, strict=True), *zip(*again, strict=True))
    ]
    return Line(title, statistics.median(answers), cpu, *medians, kib)


def load(context: BrowserContext, url: str) -> tuple[float, float]:
    """Milliseconds to the first paint and until the figures stand."""
    page = context.new_page()
    page.goto(url)
    complete = page.wait_for_function(COMPLETE, polling=20, timeout=120_000).json_value()
    page.wait_for_function(PAINT)
    paint = page.evaluate(PAINT)
    page.close()
    return float(paint), float(complete)


def panned(browser: Browser, url: str) -> str:
    """What moving the map takes a frame."""
    page = browser.new_page(viewport=SIZE)
    page.goto(url)
    page.locator("canvas[data-points]").wait_for(timeout=120_000)
    points = page.locator("canvas").get_attribute("data-points")
    frames, drawn = page.evaluate(PAN)
    page.close()
    said = (
        f"{points} points, moved: {statistics.median(frames):.0f} ms a frame "
        f"(95%: {statistics.quantiles(frames, n=20)[-1]:.0f})"
    )
    return f"{said}, of which drawing {statistics.median(drawn):.1f}"


def cpu_ms(server: psutil.Process) -> float:
    """Processor time of the server so far."""
    used = server.cpu_times()
    return 1000 * float(used.user + used.system)


@contextmanager
def served(directory: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The address of the project's pages and the process that serves them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "services.api", "127.0.0.1", str(port)],
        env={**os.environ, "ATLAS_PROJECT": str(directory)},
        stderr=subprocess.DEVNULL,
    )
    try:
        while not answers(address):
            time.sleep(0.1)
        yield address, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait()


def answers(address: str) -> bool:
    """Whether the server is there."""
    try:
        return httpx.get(address + "/healthz").is_success
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
