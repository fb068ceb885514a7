"""A client of a project's web API, and rounds that somebody answered truly."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi.testclient import TestClient

from atlas import rounds, tokens
from atlas.batches import Ask
from atlas.oracle.simulated import SimulatedOracle
from atlas.project import Project
from atlas.tokens import Role
from services.api import create_app


@contextmanager
def client_of(project: Project, role: Role = Role.ENGINEER) -> Iterator[TestClient]:
    """A client with a token of that role, which is called "lab"."""
    with TestClient(create_app(project.directory), base_url="http://127.0.0.1") as client:
        with project.database.session() as session:
            made = tokens.create(session, role, name="lab")
        client.headers["Authorization"] = f"Bearer {made.token}"
        yield client


def go_round(project: Project) -> None:
    """A round from its queries to its model."""
    open_round(project)
    rounds.collect(project, SimulatedOracle(project), received_by="simulated")
    rounds.close_round(project)


def open_round(project: Project, ask: Ask | None = None) -> None:
    """A round whose queries wait."""
    rounds.open_round(project, ask)
    rounds.push_round(project, SimulatedOracle(project))
