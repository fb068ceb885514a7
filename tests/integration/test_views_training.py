"""A project that trains its head on augmented views: what is cached, learned and left alone."""

from collections.abc import Callable

import pytest
from sqlalchemy import select
import torch

from atlas.backbone import Backbone
from atlas.cli import main
from atlas.embedding import embed_pool, project_backbone
from atlas.errors import SettingsError
from atlas.project import Project
from atlas.registry import load_bundle
from atlas.settings_file import change_setting
from atlas.store.tables import Image, LabelRow
from atlas.train import train_model
from atlas.types import LABEL
from atlas.views import open_view, view_rows

Change = Callable[..., Project]


@pytest.fixture
def labelled(project: Project) -> list[str]:
    """Sixteen labelled images of the pool's 32."""
    with project.database.session() as session:
        found = session.scalars(select(Image).where(Image.split == "pool").order_by(Image.id))
        ids = []
        for image in list(found)[:16]:
            value = image.truth[LABEL]
            row = LabelRow(image_id=image.id, task=LABEL, value=value, agreement=1, annotations=1)
            session.add(row)
            ids.append(image.id)
    return ids


@pytest.fixture
def change(project: Project) -> Change:
    def with_views(views: int = 2, **more: object) -> Project:
        change_setting(project.directory, "head", "views", views)
        change_setting(project.directory, "head", "steps", {"count": 40, "lr": 0.05})
        for name, value in more.items():
            section, _, key = name.partition("__")
            change_setting(project.directory, section, key, value)
        return Project(project.directory)

    return with_views


def held(project: Project, view: int) -> int:
    return len(open_view(project, project_backbone(project), view))


def test_views_of_labelled_images_and_of_the_sample(change: Change, labelled: list[str]) -> None:
    """16 with a label; of the sample of 10 some have one too, which then serves as labelled."""
    project = change(head__views_sample=10)
    rows = view_rows(project, project_backbone(project), labelled)
    unlabelled = len(rows.clean)
    assert 0 < unlabelled <= 10
    features = project_backbone(project).features
    assert rows.labelled.shape == (2, 16, features)
    assert rows.augmented.shape == (2, unlabelled, features)
    assert [held(project, view) for view in range(3)] == [16 + unlabelled, 16 + unlabelled, 0]


def test_views_are_of_the_backbone_that_is_asked(change: Change, labelled: list[str]) -> None:
    """A fine-tuned one has views of its own, of its own width."""
    project = change()
    other = Backbone(project.settings.backbone.model_copy(update={"cut": "layer2"}))
    embed_pool(project, backbone=other)
    assert view_rows(project, other, labelled).labelled.shape == (2, 16, other.features)
    assert len(open_view(project, other, 0)) == 32
    assert held(project, 0) == 0


def test_the_audit_set_is_never_augmented(change: Change, labelled: list[str]) -> None:
    project = change()
    view_rows(project, project_backbone(project), labelled)
    with project.database.reader() as session:
        audit = list(session.scalars(select(Image.sha256).where(Image.split == "audit")))
    assert len(audit) == 8
    assert len(open_view(project, project_backbone(project), 0).missing(audit)) == 8
    assert held(project, 0) == 32


def test_without_a_weight_no_unlabelled_image_is_embedded(
    change: Change, labelled: list[str]
) -> None:
    project = change(uda__weight=0.0)
    assert view_rows(project, project_backbone(project), labelled).augmented.shape[1] == 0
    assert held(project, 0) == 16
    assert train_model(project) == "m0001"


def test_a_model_learns_from_views(change: Change, project: Project, labelled: list[str]) -> None:
    """Another head than without them; the same again with the same seed."""
    train_model(project)
    for _ in range(2):
        train_model(change())
    heads = [load_bundle(project.models / f"m000{i}").head.state_dict() for i in (1, 2, 3)]
    weight = "leaves.weight"
    assert not torch.allclose(heads[0][weight], heads[1][weight], atol=1e-3)
    assert torch.equal(heads[1][weight], heads[2][weight])
    found = load_bundle(project.models / "m0002").facts["out_of_fold"]["shape"]
    assert found["n"] == 16
    assert found["accuracy"] > 0.25


def test_method_two_has_no_use_for_views(change: Change, labelled: list[str]) -> None:
    with pytest.raises(SettingsError, match=r'head.views goes with head.method = "one"'):
        train_model(change(head__method="two"))


def test_train_embeds_what_is_missing(
    change: Change,
    labelled: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = change()
    monkeypatch.setattr("sys.argv", ["atlas", "train", str(project.directory)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    assert "model m0001" in capsys.readouterr().out
    assert held(project, 1) == 32
