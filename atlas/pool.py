"""Images in: found, hashed, decoded once, de-duplicated; the audit set drawn as they arrive."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
import hashlib
import os
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from atlas.chunks import chunks
from atlas.errors import ImageError, PoolError, TaxonomyError
from atlas.images import Found, decode, find_images, read_bytes
from atlas.project import Project
from atlas.store.tables import Image, LeftOut, Meta
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL, utc_now

T = TypeVar("T")
CHUNK = 512
AUDIT_THRESHOLD = "audit_threshold"
LOST = "-"  # stands before the split of an image that was asked about and cannot be read any more
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did. `left_out` maps location → reason."""

    found: int
    added: int
    duplicates: int
    audit: int
    left_out: dict[str, str] = field(default_factory=dict)


def truth_of(found: Found, kind: str) -> dict[str, Any]:
    """What folders or a manifest's columns say an image shows; {} where nothing is known."""
    if kind == "folders":
        folder = found.name.rpartition("/")[0]
        return {LABEL: folder} if folder else {}
    if kind == "manifest":
        return {key: value for key, value in found.details.items() if value not in (None, "")}
    return {}


def known_truth(found: Found, kind: str, taxonomy: Taxonomy) -> dict[str, Any]:
    """The truth, checked against the taxonomy; other manifest columns are no truth.

    A quantity may be a number or text in a JSONL manifest; in the truth it is text, as in labels.

    Raises:
        PoolError: a label outside the taxonomy, or a quantity that is no number.
    """
    tasks = {LABEL, *taxonomy.attributes, *taxonomy.quantities}
    truth = {
        key: str(value) if key in taxonomy.quantities else value
        for key, value in truth_of(found, kind).items()
        if key in tasks
    }
    try:
        taxonomy.check(truth)
    except TaxonomyError as error:
        raise PoolError(f"truth of {found.name}: {error}") from error
    return truth


def ingest(
    project: Project,
    path: Path,
    *,
    truth: str = "",
    split: str = "",
    progress: Progress | None = None,
) -> IngestReport:
    """Add the images of a folder, zip or manifest to the project.

    Images are told apart by their content, so a second ingest of the same adds nothing. All of
    it is one transaction: a failure adds nothing.

    Args:
        project: where to.
        path: a folder, zip or manifest.
        truth: "" (unknown), "folders" or "manifest": where the true labels are, for simulations.
        split: "pool" or "audit" for all of them; "" draws the audit set's share at random.
        progress: called with (done, total).

    Raises:
        PoolError: no image found, none readable, or truth outside the taxonomy.
    """
    found = find_images(path)
    truths = [known_truth(one, truth, project.taxonomy) for one in found]
    rows, left_out = _decode_all(found, truths, progress)
    if not rows:
        reason = next(iter(left_out.values()))
        raise PoolError(
            f"none of the {len(found)} images of {path} can be read; the first: {reason}"
        )
    with project.database.session() as session:
        known = set(session.scalars(select(Image.id)))
        fresh = {row["id"]: row for row in reversed(rows) if row["id"] not in known}
        new = [row for row in rows if fresh.get(row["id"]) is row]
        threshold = 0.0 if split else _threshold(session, [row["sha256"] for row in new], project)
        for row in new:
            drawn = "audit" if audit_key(row["sha256"], project) < threshold else "pool"
            row["split"] = split or drawn
            row["location"] = _portable(row["location"], project.directory)
        if new:
            session.execute(insert(Image), new)
        _find_lost(session, {row["id"]: row["location"] for row in rows}, project)
        _list_left_out(session, left_out, [row["location"] for row in rows], project)
    return IngestReport(
        found=len(found),
        added=len(new),
        duplicates=len(rows) - len(new),
        audit=sum(row["split"] == "audit" for row in new),
        left_out=left_out,
    )


def _list_left_out(
    session: Session, left_out: dict[str, str], readable: Sequence[str], project: Project
) -> None:
    """List what was left out now, and no longer what has been mended since."""
    mended = {_portable(location, project.directory) for location in readable}
    for listed in session.scalars(select(LeftOut)):
        if listed.location in mended:
            session.delete(listed)
    for location, reason in left_out.items():
        session.merge(LeftOut(location=_portable(location, project.directory), reason=reason))


def set_aside(session: Session, image: Image, reason: str) -> None:
    """List an image that cannot be read; it counts as lost until an embed finds it again."""
    session.merge(LeftOut(location=image.location, reason=reason))
    image.split = LOST + image.split.removeprefix(LOST)


def _find_lost(session: Session, locations: dict[str, str], project: Project) -> None:
    """Lost images that are here again: the next embed takes them back."""
    for image in session.scalars(select(Image).where(Image.split.startswith(LOST))):
        if image.id in locations:
            session.execute(delete(LeftOut).where(LeftOut.location == image.location))
            image.location = _portable(locations[image.id], project.directory)


def audit_key(sha256: str, project: Project) -> float:
    """A number in [0, 1), uniform over images and fixed by the project's seed and the content."""
    digest = hashlib.sha256(f"{project.settings.seed}:{sha256}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def _threshold(session: Session, hashes: Sequence[str], project: Project) -> float:
    """Images whose key is below it are audit images; set by the first ingest, kept for later ones.

    The first ingest draws exactly `audit.size`; later ones add the same share of what arrives, so
    that the audit set stays a uniform sample of everything that ever arrived.
    """
    stored = session.get(Meta, AUDIT_THRESHOLD)
    if stored is not None:
        return float(stored.value)
    size = project.settings.audit.size
    if size == 0 or not hashes:
        return 0.0
    if size >= len(hashes):
        raise PoolError(
            f"audit.size is {size}, the pool has only {len(hashes)} images; "
            "the audit set must leave images to learn from (--audit-size)"
        )
    keys = sorted(audit_key(sha256, project) for sha256 in hashes)
    session.add(Meta(key=AUDIT_THRESHOLD, value=repr(keys[size])))
    return keys[size]


def _decode_all(
    found: Sequence[Found], truths: Sequence[dict[str, Any]], progress: Progress | None
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    rows: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        for chunk in chunks(zip(found, truths, strict=True), CHUNK):
            for (one, truth), result in zip(chunk, threads.map(_look, chunk), strict=True):
                if isinstance(result, ImageError):
                    left_out[_as_text(one.location)] = str(result)
                else:
                    rows.append({**result, "truth": truth})
            if progress is not None:
                progress(len(rows) + len(left_out), len(found))
    return rows, left_out


def _look(item: tuple[Found, dict[str, Any]]) -> dict[str, Any] | ImageError:
    found = item[0]
    if _as_text(found.location) != found.location:
        return ImageError(f"{_as_text(found.location)}: its name is not UTF-8; rename it")
    try:
        content = read_bytes(found.location)
        image = decode(content, found.location)
    except ImageError as error:
        return error
    sha256 = hashlib.sha256(content).hexdigest()
    return {
        "id": f"img_{sha256[:16]}",
        "sha256": sha256,
        "location": found.location,
        "width": image.width,
        "height": image.height,
        "details": found.details,
        "added_at": utc_now(),
    }


def _as_text(location: str) -> str:
    """The location with a backslash escape for every byte that is no UTF-8."""
    return location.encode("utf-8", "backslashreplace").decode("utf-8")


def _portable(location: str, directory: Path) -> str:
    """Relative where the image lies in the project folder, so that the folder can be moved."""
    prefix = f"{directory}{os.sep}"
    return location.removeprefix(prefix)


def count(session: Session, split: str) -> int:
    """How many images are in the split ("pool" or "audit")."""
    return session.scalar(select(func.count()).where(Image.split == split)) or 0
