"""Finds images and reads them, wherever they are.

A location is a file path, `archive.zip!/inner/name.jpg` for a member of a zip, or an http(s) URL.
"""

from collections.abc import Iterator
from contextlib import contextmanager
import csv
from dataclasses import dataclass, field
from functools import lru_cache
import io
import json
import os
from pathlib import Path, PurePosixPath
import re
import threading
from typing import Any, TextIO
import zipfile
import zlib

import httpx
from PIL import Image as PilImage
from PIL import ImageOps, UnidentifiedImageError

from atlas.errors import ImageError, PoolError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
MANIFEST_SUFFIXES = {".csv", ".jsonl"}
URL_TIMEOUT_S = 30.0
_ZIP_MEMBER = re.compile(r"(?P<archive>.+?\.zip)!/(?P<member>.+)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Found:
    """An image that was found.

    Attributes:
        name: path relative to what was searched, with "/"; its folders may be the truth.
        location: where to read it.
        details: the other columns of a manifest.
    """

    name: str
    location: str
    details: dict[str, Any] = field(default_factory=dict)


def find_images(path: Path) -> list[Found]:
    """Every image under a folder, in a zip (`a.zip` or `a.zip/inner/folder`) or in a manifest.

    Raises:
        PoolError: nothing at that path, or no image there.
    """
    archive, inner = _split_zip(path)
    if archive is not None:
        found = list(_in_zip(archive, inner))
    elif path.is_dir():
        found = [
            Found(file.relative_to(path).as_posix(), str(file.resolve()))
            for file in sorted(path.rglob("*"))
            if _is_image(file.name) and file.is_file()
        ]
    elif path.suffix.lower() in MANIFEST_SUFFIXES and path.is_file():
        found = list(_in_manifest(path))
    elif not path.exists():
        raise PoolError(f"there is nothing at {path}; give a folder, a zip or a manifest")
    else:
        raise PoolError(f"{path} is no folder, .zip, .csv or .jsonl; give one of these")
    if not found:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise PoolError(f"no image in {path}; looked for {kinds}")
    return found


def read_bytes(location: str) -> bytes:
    """The file's bytes.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        if location.startswith(("http://", "https://")):
            response = httpx.get(location, timeout=URL_TIMEOUT_S, follow_redirects=True)
            return response.raise_for_status().content
        zipped = _ZIP_MEMBER.fullmatch(location)
        if zipped is None:
            return Path(location).read_bytes()
        facts = os.stat(zipped["archive"])
        stamp = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
        owner = (os.getpid(), threading.get_ident())
        return _zip(owner, zipped["archive"], stamp).read(zipped["member"])
    except (
        OSError,
        EOFError,
        KeyError,
        RuntimeError,  # zipfile's word for an encrypted member or an unknown compression
        zipfile.BadZipFile,
        zlib.error,
        httpx.HTTPError,
    ) as error:
        raise ImageError(f"cannot read {location}: {error}") from error


def is_absent(location: str) -> bool:
    """Whether there is no such file, or no such archive; of a URL it is not asked: False."""
    if location.startswith(("http://", "https://")):
        return False
    zipped = _ZIP_MEMBER.fullmatch(location)
    return not os.path.exists(zipped["archive"] if zipped else location)


def decode(content: bytes, location: str) -> PilImage.Image:
    """The whole picture as RGB, pixels as stored (EXIF orientation is not applied).

    Raises:
        ImageError: not an image, or cut short.
    """
    with _decoding(location), PilImage.open(io.BytesIO(content)) as image:
        image.load()
        return image.convert("RGB")


def shrink(content: bytes, location: str, side: int) -> PilImage.Image:
    """The picture for people: RGB, upright, no side longer than `side`; never enlarged.

    A JPEG is decoded at about that size, which takes a fraction of the time.

    Raises:
        ImageError: not an image, or cut short.
    """
    with _decoding(location), PilImage.open(io.BytesIO(content)) as image:
        image.thumbnail((side, side))
        return ImageOps.exif_transpose(image).convert("RGB")


def open_image(location: str) -> PilImage.Image:
    """Read and decode; raises `ImageError`."""
    return decode(read_bytes(location), location)


@contextmanager
def _decoding(location: str) -> Iterator[None]:
    try:
        yield
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,  # PIL's own word for a broken PNG chunk
        ValueError,
        PilImage.DecompressionBombError,
    ) as error:
        raise ImageError(f"cannot decode {location}: {error}") from error


@lru_cache(maxsize=64)
def _zip(_owner: tuple[int, int], archive: str, _stamp: tuple[int, int, int]) -> zipfile.ZipFile:
    # One handle a thread: a ZipFile shared by threads takes turns at a lock for every read.
    # One a process as well: a forked one would move the place in the file for its parent.
    # The stamp makes a zip that was replaced another one.
    return zipfile.ZipFile(archive)


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    # A Mac puts a "._" companion, which is no image, beside each file it copies or zips.
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("._")


def _split_zip(path: Path) -> tuple[Path | None, str]:
    for part in (path, *path.parents):
        if part.suffix.lower() == ".zip" and part.is_file():
            return part, path.relative_to(part).as_posix().strip(".")
    return None, ""


def _in_zip(archive: Path, inner: str) -> Iterator[Found]:
    prefix = f"{inner}/" if inner else ""
    try:
        with zipfile.ZipFile(archive) as file:
            names = sorted(file.namelist())
    except zipfile.BadZipFile as error:
        raise PoolError(f"{archive} is not a readable zip: {error}") from error
    for name in names:
        if name.startswith(prefix) and _is_image(name):
            yield Found(name.removeprefix(prefix), f"{archive.resolve()}!/{name}")


def _in_manifest(path: Path) -> Iterator[Found]:
    for number, row in enumerate(_rows(path), start=1):
        where = row.pop("path", None) or row.pop("url", None)
        if not where:
            raise PoolError(f"{path}, row {number}: no `path` or `url` column in {sorted(row)}")
        location = str(where) if "://" in str(where) else str((path.parent / str(where)).resolve())
        yield Found(str(where), location, row)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a BOM
            rows = _csv_rows if path.suffix.lower() == ".csv" else _json_rows
            yield from rows(file, path)
    except UnicodeDecodeError as error:
        raise PoolError(f"{path} is not UTF-8 text: {error.reason}; save it as UTF-8") from error


def _csv_rows(file: TextIO, path: Path) -> Iterator[dict[str, Any]]:
    try:
        for number, row in enumerate(csv.DictReader(file), start=1):
            if None in row:
                raise PoolError(f"{path}, row {number}: more values than columns")
            yield row
    except csv.Error as error:
        raise PoolError(f"{path} is not a CSV file: {error}") from error


def _json_rows(file: TextIO, path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise PoolError(f"{path}, line {number} is not JSON: {error.msg}") from error
        if not isinstance(row, dict):
            raise PoolError(f"{path}, line {number}: expected an object, got {row!r}")
        yield row
