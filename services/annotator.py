"""An automatic annotator: takes the next task from Label Studio and answers it, as a person would.

It uses Label Studio's API alone and sees what a person sees: the task and the model's guess.
"""

from collections.abc import Callable, Mapping
from threading import Event
import time
from typing import Any

import httpx

from atlas.errors import OracleError, OracleRefused

IDLE_S = 0.25
RETRY_S = 1.0
TIMEOUT_S = 60.0

Answer = Callable[[dict[str, Any]], Mapping[str, str | float] | None]


def annotate_queue(url: str, token: str, ls_project_id: int, answer: Answer, *, stop: Event) -> int:
    """Answer tasks in the order of the queue until `stop` is set, waiting where there is none.

    A server that is away for a while (restarting) is waited for.

    Args:
        url: where Label Studio is.
        token: the annotator's own.
        ls_project_id: the project's id in Label Studio.
        answer: task data (`uid`, `image_id`, `image`, `reason`) → control name → the choice, or
            the number typed, such as {"label": "top/shirt", "size": 71.4}; None skips the task.
        stop: ends the loop.

    Returns:
        How many tasks were answered or skipped.

    Raises:
        OracleRefused: the token was refused.
        OracleError: Label Studio refused a task or an answer.
    """
    done = 0
    headers = {"Authorization": f"Token {token}"}
    # On kept-alive connections every answer of the development server comes 40 ms later.
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(
        base_url=url, headers=headers, limits=limits, timeout=TIMEOUT_S, trust_env=False
    ) as client:
        while not stop.is_set():
            try:
                task = _next_task(client, ls_project_id)
                if task is None:
                    stop.wait(IDLE_S)
                    continue
                _answer_task(client, task, answer)
                done += 1
            except httpx.TransportError:
                stop.wait(RETRY_S)
    return done


def _next_task(client: httpx.Client, ls_project_id: int) -> dict[str, Any] | None:
    response = client.get(f"/api/projects/{ls_project_id}/next")
    if response.status_code == httpx.codes.NOT_FOUND:
        return None  # its way to say that the queue is empty
    _check(response)
    return dict(response.json())


def _answer_task(client: httpx.Client, task: dict[str, Any], answer: Answer) -> None:
    started = time.monotonic()
    values = answer(task["data"])
    guess = task["predictions"][0] if task["predictions"] else None
    guessed = {
        region["from_name"]: _value(region["value"])
        for region in (guess["result"] if guess else [])
    }
    body = {
        "was_cancelled": values is None,
        "lead_time": time.monotonic() - started,
        "parent_prediction": guess["id"] if guess and guessed else None,
        "result": [_region(name, value, guessed) for name, value in (values or {}).items()],
    }
    _check(client.post(f"/api/tasks/{task['id']}/annotations/", json=body))


def _value(value: Mapping[str, Any]) -> Any:
    return value["number"] if "number" in value else value["choices"][0]


def _region(name: str, value: str | float, guessed: Mapping[str, Any]) -> dict[str, Any]:
    number = not isinstance(value, str)
    origin = "manual"
    if name in guessed:
        origin = "prediction" if guessed[name] == value else "prediction-changed"
    return {
        "id": name,
        "from_name": name,
        "to_name": "image",
        "type": "number" if number else "choices",
        "origin": origin,
        "value": {"number": value} if number else {"choices": [value]},
    }


def _check(response: httpx.Response) -> None:
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise OracleRefused(
            f"Label Studio refused the annotator's token ({response.status_code}); "
            "log in there and compare it with Account & Settings"
        )
    if response.is_error:
        raise OracleError(
            f"Label Studio answered {response.status_code} to {response.request.url}: "
            f"{response.text[:200]}"
        )
