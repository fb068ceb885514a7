"""Keys and clicks a label costs on each candidate page: a scripted person at Label Studio.

    .venv/bin/python benchmarks/keys_per_label.py --out DIR

Needs Chromium and Label Studio (`make setup`). The demo's garments are embedded and a head learns
from so few labels that its guess of the class is right in about `--right` of the held-out pictures.
A share of them, `--blind`, is asked without a guess, as every audit image is. The same pictures
with the same guesses then go through each page of `keys_pages.py`, once by keys, once by mouse. The
person knows class and colour and presses as few keys as the page allows; a key held while another
is pressed counts too. Every answer is read back and compared. Prints a markdown table and leaves a
screenshot a page in `--out`.
"""

import argparse
import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
import shutil
import subprocess
from typing import Any

from keys_pages import COLOUR, PAGES, LabellingPage
from keys_person import PATIENCE_S, Asked, Person
import numpy as np
from playwright.sync_api import Browser, sync_playwright
from sqlalchemy import select

from atlas.blinding import BLIND_REASON
from atlas.embedding import embed_pool
from atlas.evaluation import predict
from atlas.oracle._label_studio_api import LabelStudioApi
from atlas.project import Project
from atlas.replay import load_replay
from atlas.settings_file import SETTINGS_FILE
from atlas.store.tables import Image
from atlas.train import TrainingData, learn
from atlas.types import LABEL
from services import label_studio
from services.demo import Plan, draw_demo_pool, ingest_pool, make_demo_project, prepare_folder
from services.ports import take_port

LABELS = (13, 20, 26, 33, 40, 50, 60, 80, 100, 150, 200, 300)
CASES = ("guess right", "guess wrong", "no guess")
SMALL, LARGE = (1024, 768), (1280, 800)


@dataclass(frozen=True)
class Bench:
    """What stays the same from page to page."""

    project: Project
    url: str
    browser: Browser
    asked: Sequence[Asked]
    out: Path


def main() -> None:
    """Make the guesses, run every page, print."""
    arguments = _arguments()
    project = _project(arguments.out / "project")
    asked = _asked(project, arguments)
    cases = [_case(one) for one in asked]
    counts = ", ".join(f"{case}: {cases.count(case)}" for case in CASES)
    print(f"{len(asked)} pictures; {counts}\n", flush=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with _server(project) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        bench = Bench(project, url, browser, asked, arguments.out)
        print(f"| page | by | {' | '.join(CASES)} | mean | answers right |", flush=True)
        print(f"|---|---|{'---:|' * (len(CASES) + 2)}")
        for page in PAGES:
            for hand in ("keys",) if "+" in page.submit else ("keys", "mouse"):
                pressed, right = _run(bench, page, mouse=hand == "mouse")
                means = [
                    np.mean([n for n, its in zip(pressed, cases, strict=True) if its == case])
                    for case in CASES
                ]
                numbers = " | ".join(f"{mean:.2f}" for mean in (*means, np.mean(pressed)))
                line = f"| {page.name} | {hand} | {numbers} | {right} of {len(asked)} |"
                print(line, flush=True)
        browser.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="a new folder, or an earlier run's")
    parser.add_argument("--images", type=int, default=20, help="labels a page")
    parser.add_argument("--right", type=float, default=0.8, help="share of right guesses wanted")
    parser.add_argument("--blind", type=float, default=0.4, help="share asked without a guess")
    return parser.parse_args()


def _case(one: Asked) -> str:
    right, wrong, none = CASES
    if not one.guess:
        return none
    return right if all(one.truth[task] == value for task, value in one.guess.items()) else wrong


def _project(directory: Path) -> Project:
    """The demo's garments with their bottlenecks, made where they are not there yet."""
    if (directory / SETTINGS_FILE).exists():
        return Project(directory)
    plan = Plan(images=600, audit=200)
    project = make_demo_project(directory, plan, prepare_folder(directory, plan))
    draw_demo_pool(project, plan, drawing=_quiet)
    ingest_pool(project, progress=_quiet)
    embed_pool(project)
    return project


def _quiet(done: int, total: int) -> None:
    """Nobody watches."""


def _asked(project: Project, wanted: argparse.Namespace) -> list[Asked]:
    """Held-out pictures, drawn at random, with the guesses of a head that is right so often."""
    known = load_replay(project)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(known.pool.ids))
    finest = project.taxonomy.levels[-1]
    classes, colours = project.taxonomy.tasks[finest], project.taxonomy.attributes[COLOUR]
    truth = np.array([classes.index(label[LABEL]) for label in known.test.labels])
    for labels in LABELS:
        picks = np.sort(order[:labels])
        data = TrainingData(
            known.pool.rows[picks], [known.pool.labels[i] for i in picks], known.pool.rows
        )
        head = learn(data, project.taxonomy, project.settings.head, seed=0).head
        probs = predict(head, known.test.rows)
        right = float((probs[finest].argmax(1) == truth).mean())
        if right >= wanted.right - 0.02:
            break
    print(f"{labels} labels: {right:.0%} of {len(truth)} held-out pictures guessed right")
    with project.database.reader() as session:
        place = dict(session.execute(select(Image.id, Image.location)).all())
    drawn = rng.choice(len(truth), wanted.images, replace=False)
    blind = set(drawn[: round(wanted.blind * wanted.images)].tolist())
    asked = []
    for i in rng.permutation(drawn).tolist():
        ranked = np.argsort(-probs[finest][i])
        guess = {LABEL: classes[ranked[0]], COLOUR: colours[int(probs[COLOUR][i].argmax())]}
        first, second = (classes[j].rpartition("/")[2] for j in ranked[:2])
        p, q = probs[finest][i][ranked[:2]]
        one = Asked(
            picture=Path(project.absolute(place[known.test.ids[i]])),
            truth=known.test.labels[i],
            guess={} if i in blind else guess,
            reason=BLIND_REASON if i in blind else f"between {first} and {second} {p:.2f}/{q:.2f}",
            ranked=[classes[j] for j in ranked],
        )
        asked.append(one)
    return asked


@contextmanager
def _server(project: Project) -> Iterator[str]:
    """A Label Studio of the project, as `atlas up` starts it."""
    port = take_port(label_studio.HOST, 0, "label_studio.port")
    command, environment = label_studio.command_and_env(project, port)
    with (project.run / "label-studio.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://{label_studio.HOST}:{port}"
        label_studio.wait_until_healthy(url, 600.0, lambda waited_s: None)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def _run(bench: Bench, page: LabellingPage, *, mouse: bool) -> tuple[list[int], int]:
    """The keys or clicks of each label, and how many answers were the truth."""
    login = label_studio.admin(bench.project)
    api = LabelStudioApi(bench.url, login.token, managed=True)
    made = api.create_project(
        title=page.name,
        label_config=page.config(replace(bench.project.taxonomy, quantities=())),
        sampling="Uncertainty sampling",
        show_collab_predictions=True,
        maximum_annotations=1,
    )
    number = int(made["id"])
    api.import_tasks(number, [_task(i, one, page) for i, one in enumerate(bench.asked)])
    api.update_project(number, model_version="guess")
    shown = bench.browser.new_context().new_page()
    shown.set_default_timeout(PATIENCE_S * 1000)
    shown.add_init_script('localStorage.setItem("dm:labelstream:mode", "all")')
    person = Person(shown, page, bench.asked, mouse=mouse)
    shown.goto(f"{bench.url}/user/login/?next=/projects/{number}/data%3Flabeling=1")
    shown.fill("input[name=email]", login.email)
    shown.fill("input[name=password]", login.password)
    shown.click("button[type=submit]")
    shown.locator(".atlas-picture img").first.wait_for()
    for size in (SMALL, LARGE):
        shown.set_viewport_size({"width": size[0], "height": size[1]})
        shown.wait_for_timeout(1000)
        shown.screenshot(path=bench.out / f"{Path(page.template).stem}-{size[0]}.png")
    pressed = [person.label(one) for one in bench.asked]
    shown.context.close()
    tasks = [int(task["id"]) for task in api.changed_tasks(number, None)]
    right = sum(
        _said(task) == page.values(bench.asked[int(task["data"]["uid"])].truth)
        for task in api.export(number, tasks)
    )
    return pressed, right


def _task(number: int, one: Asked, page: LabellingPage) -> dict[str, Any]:
    content = base64.b64encode(one.picture.read_bytes()).decode()
    values = page.values(one.guess) if one.guess else {}
    return {
        "data": {
            "image": f"data:image/png;base64,{content}",
            "uid": str(number),
            "reason": f"Chosen by Atlas: {one.reason}",
            **page.data(one.ranked),
        },
        "predictions": [
            {
                "model_version": "guess",
                "score": number / 1000,
                "result": [
                    {
                        "id": control,
                        "from_name": control,
                        "to_name": "image",
                        "type": "choices",
                        "value": {"choices": [value]},
                    }
                    for control, value in values.items()
                ],
            }
        ],
    }


def _said(task: Mapping[str, Any]) -> dict[str, str]:
    return {
        region["from_name"]: region["value"]["choices"][0]
        for region in task["annotations"][0]["result"]
    }


if __name__ == "__main__":
    main()
