"""Rows of images and queries as a pool and a round would have them."""

from typing import Any

from atlas.store.tables import Image, QueryRow


def image_row(number: int) -> Image:
    """Image `img_<number>` of the pool."""
    return Image(
        id=f"img_{number}",
        sha256=f"{number:064x}",
        location=f"{number}.png",
        split="pool",
        width=1,
        height=1,
        details={},
        truth={},
    )


def query_row(uid: str, image: int, **more: Any) -> QueryRow:
    """A query about image `img_<image>`, pushed in round 1 unless `more` says otherwise."""
    values = {
        "round_number": 1,
        "kind": "query",
        "state": "pushed",
        "priority": image,
        "score": 0.0,
        "reason": "",
        "guess": {},
        "confidence": {},
        **more,
    }
    return QueryRow(uid=uid, image_id=f"img_{image}", **values)
