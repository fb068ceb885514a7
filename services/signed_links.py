"""Links to pictures of the pool that are signed and expire.

An `<img>` can send no token, so the link itself is the permission: whoever may read the page it
stands on may see the picture, for an hour or two.
"""

from hashlib import sha256
import hmac
import time
from urllib.parse import urlencode

from atlas.project import Project

PATH = "/api/v1/images"
SECRET = "picture_secret"
LIFETIME_S = 3600
SIDE = 160
SMALLEST, LARGEST = 32, 1024


def signed_path(project: Project, image_id: str, *, side: int = SIDE) -> str:
    """The path and query under which the picture of an image can be had without a token.

    It is the same within an hour, so that browsers keep the picture, and holds for one to two.

    Args:
        project: whose image.
        image_id: its id.
        side: longest side in pixels, 32 to 1024; a smaller picture stays as it is.
    """
    expires = (int(time.time()) // LIFETIME_S + 2) * LIFETIME_S
    signature = sign(project, image_id, side, expires)
    return f"{PATH}/{image_id}?" + urlencode(
        {"side": side, "expires": expires, "signature": signature}
    )


def sign(project: Project, image_id: str, side: int, expires: int) -> str:
    """HMAC-SHA256 of what the link allows, in hexadecimal."""
    said = f"{image_id}\n{side}\n{expires}".encode()
    return hmac.new(project.secret(SECRET).encode(), said, sha256).hexdigest()
