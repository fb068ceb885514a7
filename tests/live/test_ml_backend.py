"""A real Label Studio asks the web API for guesses, as of an ML backend."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
import time

import httpx
import pytest
from sqlalchemy import select
import uvicorn

from atlas import tokens
from atlas.oracle.label_studio import LabelStudioOracle
from atlas.project import Project
from atlas.store.tables import QueryRow
from atlas.tokens import Role
from services.api import create_app
from tests.live.conftest import Receiver, Server, open_round, tasks_of

pytestmark = pytest.mark.live


@contextmanager
def serving(project: Project) -> Iterator[str]:
    """The project's web API, and where it is."""
    config = uvicorn.Config(create_app(project.directory), port=0, log_level="warning")
    api = uvicorn.Server(config)
    thread = Thread(target=api.run)
    thread.start()
    while not api.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{api.servers[0].sockets[0].getsockname()[1]}"
    api.should_exit = True
    thread.join()


def test_label_studio_connects_and_fetches_guesses(
    server: Server, make_project: Callable[..., Project], receiver: Receiver
) -> None:
    project = make_project()
    oracle = LabelStudioOracle(project)
    number = oracle.setup(webhook_url=receiver.url)
    oracle.push(open_round(project, 1, [0, 1, 2]))  # image 1 is an audit image
    by = "heads on 5 labels"
    with project.database.session() as session:
        for row in session.scalars(select(QueryRow)):
            row.state, row.guess_by = "pushed", "" if row.blind else by
        token = tokens.create(session, Role.ANNOTATOR_BRIDGE, name="label studio").token
    admin = {"Authorization": f"Token {server.admin.token}"}
    backend = {
        "project": number,
        "title": "Atlas",
        "auth_method": "BASIC_AUTH",
        "basic_auth_user": "atlas",
    }
    with (
        serving(project) as url,
        httpx.Client(base_url=server.url, headers=admin, timeout=60, trust_env=False) as client,
    ):
        backend["url"] = f"{url}/label-studio/ml"
        refused = client.post("/api/ml", json={**backend, "basic_auth_pass": "guess"})
        assert refused.is_error
        made = client.post("/api/ml", json={**backend, "basic_auth_pass": token})
        assert made.status_code == 201, made.text
        state = client.get(f"/api/ml/{made.json()['id']}").json()
        assert (state["state"], state["model_version"]) == ("CO", by)
        for _ in range(2):  # it asks again only about tasks that have no guess of that name
            asked = client.post(
                "/api/dm/actions",
                params={"id": "retrieve_tasks_predictions", "project": number},
                json={"selectedItems": {"all": True, "excluded": []}},
            )
            assert asked.status_code == 200, asked.text
    found = {}
    for task in tasks_of(oracle):
        told = [one for one in task["predictions"] if not one["model_version"].startswith("round")]
        name = "none yet" if task["data"]["image_id"].endswith("1") else by
        assert {one["model_version"] for one in told} == {name}
        assert len(told) == 1 or name != by
        guess = told[0]
        said = {one["from_name"]: one["value"] for one in guess["result"]}
        found[task["data"]["image_id"][-1]] = (guess["score"], said)
    guessed = {
        "label": {"choices": ["top/shirt"]},
        "colour": {"choices": ["red"]},
        "size": {"number": 71.4},
    }
    assert found == {"0": (0.0, guessed), "1": (1.0, {}), "2": (2.0, guessed)}
