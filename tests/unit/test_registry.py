"""Bundles on the disk, and which model answers."""

from collections.abc import Callable
import json
from pathlib import Path

import pytest
from sqlalchemy.orm import Session
import torch

from atlas import promotion, registry
from atlas.errors import DiskFull, ModelError
from atlas.heads.tree import Tree
from atlas.project import Project
from atlas.store.tables import ModelRow
from atlas.taxonomy import Taxonomy

TREE = Taxonomy(("kind",), ("a", "b"), {"colour": ("red", "blue")})
FACTS = {"head": "tree", "head_args": {"l2": 0.5}, "fingerprint": "f00"}


def head() -> Tree:
    made = Tree(4, TREE, l2=0.5)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0))
    return made


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    registry.save_bundle(tmp_path / "m0001", head(), FACTS)
    return tmp_path / "m0001"


def add(session: Session, *ids: str) -> None:
    for model_id in ids:
        session.add(ModelRow(id=model_id, head="tree", fingerprint="f", labels=1, metrics={}))
        session.flush()
        promotion.promote(session, model_id, reason="trained")


def test_a_bundle_is_two_files_and_nothing_beside(bundle: Path) -> None:
    assert sorted(path.name for path in bundle.iterdir()) == ["head.safetensors", "model.json"]
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["m0001"]
    loaded = registry.load_bundle(bundle)
    assert loaded.head.taxonomy == TREE
    assert loaded.facts["version"] == 1
    for name, value in head().state_dict().items():
        assert torch.equal(loaded.head.state_dict()[name], value)


def test_a_bundle_left_by_a_crash_is_written_over(bundle: Path) -> None:
    (bundle / "model.json").unlink()
    leftover = bundle.parent / ".m0001.tmp"
    leftover.mkdir()
    (leftover / "head.safetensors").write_bytes(b"half")
    registry.save_bundle(bundle, head(), FACTS)
    assert registry.load_bundle(bundle).fingerprint == "f00"
    assert not leftover.exists()


def test_a_newer_bundle(bundle: Path) -> None:
    facts = json.loads((bundle / "model.json").read_text())
    (bundle / "model.json").write_text(json.dumps({**facts, "version": 2}))
    with pytest.raises(ModelError, match="newer Atlas; upgrade Atlas"):
        registry.load_bundle(bundle)


@pytest.mark.parametrize(
    "change",
    [
        {"version": "x"},
        {"taxonomy": None},
        {"taxonomy": {"levels": ["kind"], "leaves": ["a"], "attributes": {}}},
        {"taxonomy": {"levels": ["kind"], "leaves": ["a", "b", "c"], "attributes": {}}},
        {"taxonomy": {"levels": ["kind"], "leaves": ["a", "b"], "attributes": []}},
        {"features": 5},
        {"head": "forest"},
        {"head_args": {"depth": 3}},
        {"sha256": "0" * 64},
    ],
)
def test_facts_that_do_not_fit(bundle: Path, change: dict[str, object]) -> None:
    facts = json.loads((bundle / "model.json").read_text())
    (bundle / "model.json").write_text(json.dumps({**facts, **change}))
    with pytest.raises(ModelError, match=r"does not load .*promote another one"):
        registry.load_bundle(bundle)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe"])
def test_facts_that_cannot_be_read(bundle: Path, content: bytes) -> None:
    (bundle / "model.json").write_bytes(content)
    with pytest.raises(ModelError, match="does not load"):
        registry.load_bundle(bundle)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.99])
def test_weights_that_were_cut(bundle: Path, part: float) -> None:
    content = (bundle / "head.safetensors").read_bytes()
    (bundle / "head.safetensors").write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ModelError, match="does not load"):
        registry.load_bundle(bundle)


def test_one_flipped_bit_in_the_weights(bundle: Path) -> None:
    content = bytearray((bundle / "head.safetensors").read_bytes())
    content[-3] ^= 1
    (bundle / "head.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="does not load .*not what was saved"):
        registry.load_bundle(bundle)


def test_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not load"):
        registry.load_bundle(tmp_path / "m0001")


def test_a_full_disk_leaves_no_half_bundle(small_disk: Callable[[int], Path]) -> None:
    models = small_disk(4)
    with pytest.raises(DiskFull, match="no space left"):
        registry.save_bundle(models / "m0001", Tree(4000, TREE), FACTS)
    assert list(models.iterdir()) == []


def test_promote_and_roll_back(empty_project: Project) -> None:
    with empty_project.database.session() as session:
        assert registry.next_id(session) == "m0001"
        assert promotion.current_id(session) is None
        add(session, "m0001", "m0002", "m0003")
        assert registry.next_id(session) == "m0004"
        assert promotion.current_id(session) == "m0003"
        assert promotion.roll_back(session) == promotion.current_id(session) == "m0002"
        assert promotion.roll_back(session) == promotion.current_id(session) == "m0001"
        with pytest.raises(ModelError, match="no earlier model to roll back to"):
            promotion.roll_back(session)
        assert promotion.current_id(session) == "m0001"


def test_roll_back_after_a_roll_back_and_a_training(empty_project: Project) -> None:
    """1, 2, back to 1, 3: before the third, the first answered."""
    with empty_project.database.session() as session:
        add(session, "m0001", "m0002")
        promotion.roll_back(session)
        add(session, "m0003")
        assert promotion.roll_back(session) == "m0001"


def test_a_promotion_by_hand_can_be_rolled_back(empty_project: Project) -> None:
    with empty_project.database.session() as session:
        add(session, "m0001", "m0002")
        promotion.promote(session, "m0001", reason="by hand")
        assert promotion.current_id(session) == "m0001"
        assert promotion.roll_back(session) == "m0002"


def test_promoting_what_answers_already_is_no_step(empty_project: Project) -> None:
    with empty_project.database.session() as session:
        add(session, "m0001", "m0002")
        promotion.promote(session, "m0002", reason="by hand")
        assert promotion.roll_back(session) == "m0001"


def test_unknown_models(empty_project: Project) -> None:
    with empty_project.database.session() as session:
        with pytest.raises(ModelError, match="no model 'm0009'; known: none yet"):
            promotion.promote(session, "m0009", reason="by hand")
        add(session, "m0001")
        with pytest.raises(ModelError, match="no model 'm0009'; known: m0001"):
            promotion.promote(session, "m0009", reason="by hand")
        with pytest.raises(ModelError, match="no earlier model"):
            promotion.roll_back(session)


def test_no_model_yet(empty_project: Project) -> None:
    assert registry.load_current(empty_project) is None
