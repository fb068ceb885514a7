"""The style sheet, the script and plotly: everything from this machine, nothing from elsewhere."""

from functools import cache
import gzip
import hashlib
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

OWN = Path(__file__).parent / "static"
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PREFIX = "/static"
YEAR_S = 366 * 86400

router = APIRouter(include_in_schema=False)


@router.get(PREFIX + "/{name}")
def get_asset(request: Request, name: str) -> Response:
    """A file that pages need, compressed where the browser takes that; kept for a year."""
    path = _files().get(name)
    if path is None:
        raise HTTPException(404, f"no file {name!r}; known: {', '.join(_files())}")
    headers = {"Vary": "Accept-Encoding", "Cache-Control": f"public, max-age={YEAR_S}, immutable"}
    content = path.read_bytes() if "gzip" not in _accepted(request) else _compressed(path)
    if "gzip" in _accepted(request):
        headers["Content-Encoding"] = "gzip"
    return Response(content, media_type=KINDS[path.suffix], headers=headers)


@cache
def asset_url(name: str) -> str:
    """Where a page finds a file; changes with its content, so that a browser may keep it."""
    digest = hashlib.sha256(_files()[name].read_bytes()).hexdigest()
    return f"{PREFIX}/{name}?v={digest[:12]}"


@cache
def _files() -> dict[str, Path]:
    found = {path.name: path for path in OWN.iterdir() if path.suffix in KINDS}
    return {**found, "plotly.min.js": _plotly() / "package_data" / "plotly.min.js"}


def _plotly() -> Path:
    """The folder of the installed package, which is never imported: only its script is used."""
    spec = find_spec("plotly")
    assert spec is not None and spec.origin is not None  # a dependency of this package
    return Path(spec.origin).parent


@cache
def _compressed(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), compresslevel=6)


def _accepted(request: Request) -> set[str]:
    """The encodings that the browser takes."""
    given = request.headers.get("accept-encoding", "")
    return {one.partition(";")[0].strip() for one in given.split(",")}
