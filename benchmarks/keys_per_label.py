"""Keys a label costs on each candidate page: a scripted person in Chromium at Label Studio.

    python benchmarks/keys_per_label.py --out DIR [--images 30] [--right 0.8]

The demo's garments are embedded and a head learns from so few labels that its guess of the class is
right in about `--right` of the held-out pictures. The same pictures with the same guesses then go
through each candidate page. The person knows the truth (class and colour) and presses as few keys
as the page allows; a key held while another is pressed counts too. Every answer is read back and
compared. Prints a markdown table and writes a screenshot a page to `--out`.
"""

import argparse
import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
import json
from pathlib import Path
import shutil
import subprocess
import time
from typing import Any

from keys_pages import PAGES, LabellingPage
from keys_person import PATIENCE_S, Asked, Person
import numpy as np
from playwright.sync_api import Browser, sync_playwright
from sqlalchemy import select

from atlas.embedding import embed_pool
from atlas.evaluation import predict
from atlas.oracle._label_studio_api import LabelStudioApi
from atlas.project import Project
from atlas.replay import load_replay
from atlas.settings_file import SETTINGS_FILE
from atlas.store.tables import Image
from atlas.taxonomy import Taxonomy
from atlas.train import TrainingData, learn
from atlas.types import LABEL
from services import label_studio
from services.demo import Plan, draw_demo_pool, ingest_pool, make_demo_project, prepare_folder
from services.ports import take_port

LABELS = (13, 20, 26, 33, 40, 50, 60, 80, 100, 150, 200, 300)
COLOUR = "colour"


@dataclass(frozen=True)
class Found:
    """What a page took: keys and seconds of each label, and how many answers were the truth."""

    keys: list[int]
    seconds: list[float]
    right: int


def main() -> None:
    """Make the guesses, run every page, print."""
    arguments = _arguments()
    project = _project(arguments.out / "project")
    asked = _asked(project, arguments.images, arguments.right)
    right = sum(one.guess[LABEL] == one.truth[LABEL] for one in asked)
    colours = sum(one.guess[COLOUR] == one.truth[COLOUR] for one in asked)
    print(f"{len(asked)} pictures; guessed right: class {right}, colour {colours}\n", flush=True)
    taxonomy = replace(project.taxonomy, quantities=())
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with _server(project) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        print("| page | keys a label | seconds a label (median) | answers right |", flush=True)
        print("|---|---|---|---|")
        for page in PAGES:
            shot = arguments.out / f"{page.name.replace(', ', '-').replace(' ', '-')}.png"
            found = _run(project, url, browser, page, (asked, taxonomy, shot))
            print(
                f"| {page.name} | {np.mean(found.keys):.2f} | {np.median(found.seconds):.2f} | "
                f"{found.right} of {len(asked)} |",
                flush=True,
            )
        browser.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--images", type=int, default=30, help="labels a page")
    parser.add_argument("--right", type=float, default=0.8, help="share of right guesses wanted")
    return parser.parse_args()


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


def _asked(project: Project, images: int, wanted: float) -> list[Asked]:
    """Held-out pictures, drawn at random, with the guesses of a head that is right so often."""
    known = load_replay(project)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(known.pool.ids))
    finest = project.taxonomy.levels[-1]
    classes = project.taxonomy.tasks[finest]
    truth = np.array([classes.index(label[LABEL]) for label in known.test.labels])
    for labels in LABELS:
        picks = np.sort(order[:labels])
        data = TrainingData(
            known.pool.rows[picks], [known.pool.labels[i] for i in picks], known.pool.rows
        )
        head = learn(data, project.taxonomy, project.settings.head, seed=0).head
        probs = predict(head, known.test.rows)
        right = float((probs[finest].argmax(1) == truth).mean())
        if right >= wanted - 0.02:
            break
    print(f"{labels} labels: {right:.0%} of {len(truth)} held-out pictures guessed right")
    colours = project.taxonomy.attributes[COLOUR]
    with project.database.reader() as session:
        place = dict(session.execute(select(Image.id, Image.location)).all())
    return [
        Asked(
            picture=project.absolute(place[known.test.ids[i]]),
            truth=known.test.labels[i],
            guess={
                LABEL: classes[int(probs[finest][i].argmax())],
                COLOUR: colours[int(probs[COLOUR][i].argmax())],
            },
            ranked=[classes[j] for j in np.argsort(-probs[finest][i])],
        )
        for i in rng.choice(len(truth), images, replace=False)
    ]


@contextmanager
def _server(project: Project) -> Iterator[str]:
    """A Label Studio of the project, as `atlas up` starts it, but for Enter, which submits too."""
    port = take_port(label_studio.HOST, 0, "label_studio.port")
    command, environment = label_studio.command_and_env(project, port)
    environment["EDITOR_KEYMAP"] = json.dumps({"annotation:submit": {"key": "enter,ctrl+enter"}})
    with (project.run / "label-studio.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://{label_studio.HOST}:{port}"
        label_studio.wait_until_healthy(url, 600.0, lambda waited_s: None)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def _run(
    project: Project,
    url: str,
    browser: Browser,
    page: LabellingPage,
    material: tuple[list[Asked], Taxonomy, Path],
) -> Found:
    asked, taxonomy, shot = material
    login = label_studio.admin(project)
    api = LabelStudioApi(url, login.token, managed=True)
    made = api.create_project(
        title=page.name,
        label_config=page.config(taxonomy),
        sampling="Uncertainty sampling",
        show_collab_predictions=True,
        maximum_annotations=1,
    )
    number = int(made["id"])
    api.import_tasks(number, [_task(i, one, page) for i, one in enumerate(asked)])
    api.update_project(number, model_version="guess")
    shown = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    shown.set_default_timeout(PATIENCE_S * 1000)
    shown.add_init_script('localStorage.setItem("dm:labelstream:mode", "all")')
    person = Person(shown, page, asked)
    shown.goto(f"{url}/user/login/?next=/projects/{number}/data%3Flabeling=1")
    shown.fill("input[name=email]", login.email)
    shown.fill("input[name=password]", login.password)
    shown.click("button[type=submit]")
    shown.locator(".atlas-picture img").first.wait_for()
    shown.wait_for_timeout(1000)
    shown.screenshot(path=shot)
    keys, seconds = [], []
    for one in asked:
        started = time.perf_counter()
        keys.append(person.label(one))
        seconds.append(time.perf_counter() - started)
    tasks = [int(task["id"]) for task in api.changed_tasks(number, None)]
    right = sum(
        _said(task) == page.values(asked[int(task["data"]["uid"])].truth)
        for task in api.export(number, tasks)
    )
    return Found(keys, seconds, right)


def _task(number: int, one: Asked, page: LabellingPage) -> dict[str, Any]:
    content = base64.b64encode(Path(one.picture).read_bytes()).decode()
    return {
        "data": {
            "image": f"data:image/png;base64,{content}",
            "uid": str(number),
            "reason": f"Chosen by Atlas: {one.ranked[0]} and {one.ranked[1]} are nearly tied",
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
                    for control, value in page.values(one.guess).items()
                ],
            }
        ],
    }


def _said(task: dict[str, Any]) -> dict[str, str]:
    return {
        region["from_name"]: region["value"]["choices"][0]
        for region in task["annotations"][0]["result"]
    }


if __name__ == "__main__":
    main()
