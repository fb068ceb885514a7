"""Where images are found and how they are read, on real files."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import io
import json
from pathlib import Path
from threading import Thread
import zipfile

from PIL import Image
import pytest

from atlas.errors import ImageError, PoolError
from atlas.images import decode, find_images, is_absent, open_image, read_bytes


def png(colour: tuple[int, int, int] = (200, 0, 0), side: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, "PNG")
    return file.getvalue()


def write(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png())
    return folder


def zipped(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, png())
    return path


def test_folder(tmp_path: Path) -> None:
    write(tmp_path, "b/2.PNG", "a/1.png", "a/deep/3.jpeg")
    (tmp_path / "a/notes.txt").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    found = find_images(tmp_path)
    assert [one.name for one in found] == ["a/1.png", "a/deep/3.jpeg", "b/2.PNG"]
    assert found[0].location == str(tmp_path / "a/1.png")
    assert open_image(found[0].location).size == (8, 8)


def test_zip_and_a_folder_in_a_zip(tmp_path: Path) -> None:
    path = zipped(tmp_path / "all.zip", "in/b/2.png", "in/a/1.png", "other/3.png", "in/notes.txt")
    assert [one.name for one in find_images(path)] == ["in/a/1.png", "in/b/2.png", "other/3.png"]
    found = find_images(path / "in")
    assert [one.name for one in found] == ["a/1.png", "b/2.png"]
    assert found[0].location == f"{path}!/in/a/1.png"
    assert read_bytes(found[0].location) == png()


def test_what_a_mac_adds_is_no_image(tmp_path: Path) -> None:
    path = zipped(tmp_path / "mac.zip", "in/a.png", "__MACOSX/in/._a.png")
    write(tmp_path / "folder", "a.png", "._a.png")
    assert [one.name for one in find_images(path)] == ["in/a.png"]
    assert [one.name for one in find_images(tmp_path / "folder")] == ["a.png"]


@pytest.mark.parametrize("start", ["", "\ufeff"])  # a spreadsheet writes a byte order mark
def test_csv_manifest(tmp_path: Path, start: str) -> None:
    write(tmp_path / "pictures", "1.png")
    text = "path,label,site\npictures/1.png,x,north\nhttp://h/2.png,y,\n"
    (tmp_path / "m.csv").write_text(start + text, encoding="utf-8")
    one, two = find_images(tmp_path / "m.csv")
    assert (one.name, one.location) == ("pictures/1.png", str(tmp_path / "pictures/1.png"))
    assert one.details == {"label": "x", "site": "north"}
    assert (two.location, two.details) == ("http://h/2.png", {"label": "y", "site": ""})


def test_jsonl_manifest(tmp_path: Path) -> None:
    rows = [{"url": "http://h/1.png", "width_mm": 3}, {"path": "/abs/2.png"}]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    one, two = find_images(tmp_path / "m.jsonl")
    assert (one.location, one.details) == ("http://h/1.png", {"width_mm": 3})
    assert (two.location, two.details) == ("/abs/2.png", {})


def test_what_has_no_file_is_absent(tmp_path: Path) -> None:
    write(tmp_path, "1.png")
    zipped(tmp_path / "a.zip", "in/1.png")
    there = [f"{tmp_path}/1.png", f"{tmp_path}/a.zip!/in/1.png", "https://nowhere.invalid/1.png"]
    assert [is_absent(one) for one in there] == [False] * 3  # the last is not asked for
    assert is_absent(f"{tmp_path}/2.png") and is_absent(f"{tmp_path}/b.zip!/in/1.png")


def test_a_manifest_may_name_members_of_a_zip(tmp_path: Path) -> None:
    zipped(tmp_path / "a.zip", "in/1.png")
    (tmp_path / "m.csv").write_text("path\na.zip!/in/1.png\n")
    (one,) = find_images(tmp_path / "m.csv")
    assert read_bytes(one.location) == png()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.csv", b"file,label\na.png,x\n", "row 1: no `path` or `url` column"),
        ("m.csv", b"path,label\n,x\n", "row 1: no `path` or `url` column"),
        ("m.csv", b"path,label\na.png,x,y\n", "row 1: more values than columns"),
        ("m.csv", b"path\n", "no image in"),
        ("m.csv", b"path\n\xff\xfe.png\n", "is not UTF-8"),
        ("m.jsonl", b"{}\n", "row 1: no `path` or `url` column"),
        ("m.jsonl", b'{"path": "a.png"}\n{"path"\n', "line 2 is not JSON"),
        ("m.jsonl", b"[1]\n", "line 1: expected an object"),
        ("m.jsonl", b"", "no image in"),
        ("broken.zip", b"PK\x03\x04 and no more", "is not a readable zip"),
        ("notes.txt", b"hello", r"is no folder, \.zip, \.csv or \.jsonl"),
    ],
)
def test_what_holds_no_images(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PoolError, match=said):
        find_images(tmp_path / name)


def test_nothing_there_and_nothing_in_it(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match="there is nothing at"):
        find_images(tmp_path / "none")
    with pytest.raises(PoolError, match="no image in"):
        find_images(tmp_path)
    zipped(tmp_path / "a.zip", "in/1.png")
    with pytest.raises(PoolError, match="no image in"):
        find_images(tmp_path / "a.zip" / "out")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_truncated_image_is_an_image_error_wherever_it_was_cut(kind: str) -> None:
    file = io.BytesIO()
    noise = Image.effect_noise((24, 24), 80).convert("RGB")
    noise.save(file, kind)
    content = file.getvalue()
    assert decode(content, "whole").size == (24, 24)
    for length in range(0, len(content) * 3 // 4, 7):
        with pytest.raises(ImageError, match="cannot decode cut"):
            decode(content[:length], "cut")


def test_a_folder_may_end_with_an_exclamation_mark(tmp_path: Path) -> None:
    write(tmp_path / "wow!", "a.png")
    (found,) = find_images(tmp_path / "wow!")
    assert read_bytes(found.location) == png()


class Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # noqa: N802
        self.send_response(200 if self.path == "/1.png" else 404)
        self.end_headers()
        self.wfile.write(png())

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def test_an_image_at_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert read_bytes(f"{url}/1.png") == png()
        with pytest.raises(ImageError, match="404"):
            read_bytes(f"{url}/2.png")
        server.shutdown()
    with pytest.raises(ImageError, match="cannot read"):
        read_bytes(f"{url}/1.png")
    with pytest.raises(ImageError, match="cannot read"):
        read_bytes("s3://bucket/1.png")


def test_any_mode_becomes_rgb() -> None:
    for mode in ("L", "P", "RGBA", "LA", "1", "CMYK"):
        file = io.BytesIO()
        Image.new(mode, (4, 4)).save(file, "TIFF" if mode == "CMYK" else "PNG")
        assert decode(file.getvalue(), mode).mode == "RGB"


def test_unreadable_locations(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", "1.png")
    (tmp_path / "b.zip").write_bytes(b"no zip")
    for location in (tmp_path / "none.png", tmp_path, f"{path}!/2.png", f"{tmp_path}/b.zip!/1.png"):
        with pytest.raises(ImageError, match="cannot read"):
            read_bytes(str(location))


def test_a_damaged_member_of_a_zip_is_an_image_error(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", "1.png")
    content = bytearray(path.read_bytes())
    for place in range(35, 60):  # the name ends at 35: this is its compressed data
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        other = tmp_path / f"{place}.zip"
        other.write_bytes(damaged)
        with pytest.raises(ImageError, match="cannot read"):
            read_bytes(f"{other}!/1.png")


def test_a_zip_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", "1.png")
    read_bytes(f"{path}!/1.png")
    zipped(tmp_path / "new.zip", "0.png", "1.png", "2.png").replace(path)
    assert read_bytes(f"{path}!/2.png") == png()


def test_encrypted_member(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", "1.png")
    content = bytearray(path.read_bytes())
    for start in (content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8):
        content[start] |= 1  # the flag that says: encrypted
    path.write_bytes(content)
    with pytest.raises(ImageError, match="encrypted"):
        read_bytes(f"{path}!/1.png")
