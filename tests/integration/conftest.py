"""The web application of the drawn project, asked by nobody and by an engineer who signed in."""

from collections.abc import Iterator

from fastapi.testclient import TestClient
import pytest

from atlas.project import Project
from services.api import create_app
from tests.dashboard_support import sign_in, token


@pytest.fixture
def client(project: Project) -> Iterator[TestClient]:
    with TestClient(create_app(project.directory), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def engineer(client: TestClient, project: Project) -> TestClient:
    sign_in(client, token(project))
    return client
