"""Requests made from the published schema, right and wrong, against every route.

No answer may be a server error, and each must be of the published shape. The project has two
rounds, a model, an open queue and jobs that are over.
"""

from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
import pytest
import schemathesis
from schemathesis.checks import CHECKS, not_a_server_error
from schemathesis.generation import GenerationMode

from atlas.project import Project
from services import jobs
from services.addresses import WEBHOOK_SECRET
from services.api import readiness
from tests.api_support import client_of, go_round, open_round

EXAMPLES = {GenerationMode.POSITIVE: 20, GenerationMode.NEGATIVE: 10}
NAMED = "/api/v1/projects/{project}/"  # the same routes once more: a few right requests do
NAMED_EXAMPLES = 2
SHAPE = (
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "status_code_conformance",
)
MAY_BE_503 = {"/readyz"}  # by design, where a part is missing


@pytest.fixture
def used(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """With something to see at every route."""
    go_round(project)
    open_round(project)
    for kind in ("embed", "train", "finetune"):
        jobs.request(project.database, kind)
        jobs.stop(project.database, kind)
    monkeypatch.setattr(readiness, "DEADLINE_S", 1.0)
    return project


@pytest.fixture
def schema(used: Project) -> Iterator[Any]:
    with client_of(used) as client:
        headers = {"Host": "127.0.0.1", "Authorization": client.headers["Authorization"]}
        headers["X-Atlas-Secret"] = used.secret(WEBHOOK_SECRET)
        yield schemathesis.openapi.from_asgi("/openapi.json", client.app, headers=headers), headers


def checks_of(path: str) -> list[Any]:
    """What must hold."""
    found = CHECKS.get_by_names(list(SHAPE))
    return found if path in MAY_BE_503 else [not_a_server_error, *found]


def try_out(operation: Any, mode: GenerationMode, headers: dict[str, str], name: str) -> None:
    """Send what the schema makes, and look at each answer."""
    checks = checks_of(operation.path)
    named = operation.path.startswith(NAMED)

    @settings(
        max_examples=NAMED_EXAMPLES if named else EXAMPLES[mode],
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        if named:  # a name that is made up would never get past the 404
            case.path_parameters["project"] = name
        response = case.call(headers=headers)
        case.validate_response(response, checks=checks)

    one()


@pytest.mark.parametrize("mode", list(EXAMPLES))
def test_every_route_answers_as_it_says(schema: Any, used: Project, mode: GenerationMode) -> None:
    published, headers = schema
    wrong, plain, count = [], [], 0
    for found in published.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and operation.path.startswith(NAMED):
            continue
        count += 1
        try:
            try_out(operation, mode, headers, used.settings.name)
        except Unsatisfiable:
            plain.append(operation.label)
        except Exception as error:  # every route is looked at before the test says what is wrong
            wrong.append(f"{operation.label}: {error}")
    assert count > (30 if mode is GenerationMode.NEGATIVE else 50)
    # Nothing can be wrong with a request that says nothing but its path.
    assert mode is GenerationMode.NEGATIVE or not plain
    assert all(one.startswith("GET") and "{" not in one for one in plain)
    assert not wrong, "\n\n".join(wrong)
