"""Signed links to pictures: what they give, and what they refuse."""

from collections.abc import Iterator
import io
import re
from urllib.parse import parse_qsl, urlsplit

from fastapi.testclient import TestClient
from PIL import Image as PilImage
import pytest
from sqlalchemy import select

from atlas.project import Project
from atlas.settings_file import change_setting
from atlas.store.tables import Image
from services.api import create_app, pictures
from services.signed_links import signed_path


@pytest.fixture
def client(project: Project) -> Iterator[TestClient]:
    """On a host that other machines reach: a link needs no token there either."""
    change_setting(project.directory, "service", "host", "0.0.0.0")
    with TestClient(create_app(project.directory), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def image_id(project: Project) -> str:
    with project.database.reader() as session:
        return session.scalars(select(Image.id).order_by(Image.id)).first() or ""


def replace(project: Project, image_id: str, picture: PilImage.Image) -> None:
    """Let the image be another file, a JPEG that a camera held sideways (EXIF orientation 6)."""
    path = project.directory / "other.jpg"
    exif = PilImage.Exif()
    exif[0x0112] = 6
    picture.save(path, exif=exif)
    with project.database.session() as session:
        session.get_one(Image, image_id).location = "other.jpg"


def test_a_signed_link_gives_a_small_upright_jpeg(
    client: TestClient, project: Project, image_id: str
) -> None:
    replace(project, image_id, PilImage.new("RGB", (800, 400), (200, 0, 0)))
    answer = client.get(signed_path(project, image_id, side=100))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    with PilImage.open(io.BytesIO(answer.content)) as picture:
        assert picture.size == (50, 100)  # 800 × 400 upright is 400 × 800, of which an eighth
    kept = re.fullmatch(r"private, max-age=(\d+), immutable", answer.headers["Cache-Control"])
    assert kept is not None
    assert 3600 - 5 < int(kept[1]) <= 7200


def test_the_link_is_the_same_within_an_hour(
    project: Project, image_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = []
    for now in (3600.0, 7199.9, 7200.0):  # the second hour since 1970 ends at 7200 s
        monkeypatch.setattr(pictures.time, "time", lambda now=now: now)
        links.append(signed_path(project, image_id))
    assert links[0] == links[1] != links[2]
    assert dict(parse_qsl(urlsplit(links[0]).query))["expires"] == "10800"


def test_a_link_that_was_changed_or_is_old_is_refused(
    client: TestClient, project: Project, image_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = urlsplit(signed_path(project, image_id))
    right = dict(parse_qsl(link.query))
    for wrong in (
        {"side": "161"},
        {"expires": str(int(right["expires"]) + 1)},
        {"signature": ""},
        {"signature": "\u00e9" * 64},
        {"signature": right["signature"].upper()},
    ):
        answer = client.get(link.path, params={**right, **wrong})
        assert answer.status_code == 403, wrong
    other = client.get(f"{link.path}0", params=right)
    assert other.status_code == 403
    at = int(right["expires"])
    monkeypatch.setattr(pictures.time, "time", lambda: float(at))
    late = client.get(link.path, params=right)
    assert (late.status_code, "expired" in late.json()["detail"]) == (403, True)


@pytest.mark.parametrize("wrong", [{"side": 31}, {"side": 1025}, {"expires": -1}, {"side": "x"}])
def test_what_no_link_can_say_is_422(
    client: TestClient, project: Project, image_id: str, wrong: dict[str, object]
) -> None:
    link = urlsplit(signed_path(project, image_id))
    params: dict[str, object] = {**dict(parse_qsl(link.query)), **wrong}
    assert client.get(link.path, params=params).status_code == 422  # type: ignore[arg-type]


def test_an_image_that_is_not_there(client: TestClient, project: Project, image_id: str) -> None:
    assert client.get(signed_path(project, "img_none")).status_code == 404
    with project.database.session() as session:
        session.get_one(Image, image_id).location = "gone.png"
    answer = client.get(signed_path(project, image_id))
    assert (answer.status_code, "cannot read" in answer.json()["error"]) == (422, True)
