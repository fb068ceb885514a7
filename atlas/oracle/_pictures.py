"""Where a browser gets the picture of a task from."""

import base64
import io
from pathlib import Path

from PIL import Image as PilImage

from atlas.errors import ImageError, explain_full_disk
from atlas.images import read_bytes
from atlas.project import Project
from atlas.types import Query

BROWSER_FORMATS = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "WEBP": "webp", "BMP": "bmp"}


def media_root(project: Project) -> Path:
    """The folder whose sub-folders Label Studio may serve (its "document root")."""
    return project.label_studio / "media"


def pictures(project: Project) -> Path:
    """The folder of the pictures that were pushed; Label Studio wants a strict sub-folder."""
    return media_root(project) / "images"


def picture_url(project: Project, query: Query) -> str:
    """Copies the picture where Label Studio serves it, or puts all of it in the URL.

    The name is the image's id, since a path may tell the truth.

    Raises:
        ImageError: it cannot be read.
        DiskFull: no room for the copy.
    """
    content, suffix = _for_browser(project.absolute(query.location))
    if project.settings.label_studio.images == "inline":
        kind = "jpeg" if suffix == "jpg" else suffix
        return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    folder = pictures(project)
    target = folder / f"{query.image_id}.{suffix}"
    if not target.exists():
        with explain_full_disk(target):
            folder.mkdir(parents=True, exist_ok=True)
            part = target.with_suffix(".part")
            part.write_bytes(content)
            part.replace(target)
    return f"/data/local-files/?d={folder.name}/{target.name}"


def _for_browser(location: str) -> tuple[bytes, str]:
    content = read_bytes(location)
    try:
        with PilImage.open(io.BytesIO(content)) as image:
            if image.format in BROWSER_FORMATS:
                return content, BROWSER_FORMATS[image.format]
            png = io.BytesIO()
            image.convert("RGB").save(png, "PNG")
            return png.getvalue(), "png"
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"cannot decode {location}: {error}") from error
