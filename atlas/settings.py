"""Everything that a project can be told, with its defaults and bounds.

The environment wins over the file (`atlas.settings_file`): `ATLAS_ROUND__BATCH_SIZE=50` sets
`round.batch_size`.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from atlas.consensus import Consensus


class Section(BaseModel):
    """A table of atlas.toml; a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PoolSettings(Section):
    """Where images come from."""

    images: str = ""
    truth: Literal["", "folders", "manifest"] = ""


class BackboneSettings(Section):
    """Which pretrained network turns pixels into bottlenecks.

    `name` alone loads timm's pretrained weights from the hub; `checkpoint` (a safetensors or pth
    file, or a hub-layout folder) together with `name` as the architecture loads local weights.
    """

    name: str = "regnety_004.pycls_in1k"
    checkpoint: str = ""
    image_size: int = Field(default=0, ge=0)  # 0: the network's own
    interpolation: Literal["", "nearest", "bilinear", "bicubic", "lanczos"] = ""  # "": its own
    cut: str = "pooled"  # the classifier's input; `atlas where-to-cut` compares others
    batch_size: int = Field(default=64, ge=1)
    device: str = "auto"


class AuditSettings(Section):
    """Uniform random images that are labelled for measuring alone."""

    size: int = Field(default=200, ge=0)
    per_round: int = Field(default=10, ge=0)  # at most
    # of the accuracy's interval, wanted at every level and attribute; 0: always `per_round` images
    half_width: float = Field(default=0.05, ge=0, lt=0.5)
    min_labels: int = Field(default=30, ge=1)


class RoundSettings(Section):
    """How a round asks."""

    batch_size: int = Field(default=20, ge=1)
    sampler: str = "by_budget"
    sampler_args: dict[str, Any] = Field(default_factory=dict)
    cold_start: str = "typiclust"
    level: str = "finest"
    near_duplicate: float = Field(default=0.995, gt=0, le=1)
    rescore: bool = True  # waiting queries, when a label or another model comes


class StepSettings(Section):
    """Training in steps, where L-BFGS cannot be: AdamW, warm-up and half a cosine."""

    count: int = Field(default=300, ge=1)
    batch_size: int = Field(default=512, ge=1)
    lr: float = Field(default=0.01, gt=0)


class HeadSettings(Section):
    """The trainable part on top of cached bottlenecks."""

    name: str = "tree"
    args: dict[str, Any] = Field(default_factory=dict)
    folds: int = Field(default=5, ge=2)
    balancer: str = "uniform"
    balancer_args: dict[str, Any] = Field(default_factory=dict)
    method: Literal["one", "two"] = "one"
    steps: StepSettings = StepSettings()
    views: int = Field(default=0, ge=0)  # augmented ones of each image to train on; 0: none
    views_sample: int = Field(default=5000, ge=0)  # unlabelled images with views, for UDA


class FinetuneSettings(Section):
    """Training the backbone together with the head, on pixels."""

    steps: int = Field(default=1000, ge=1)  # optimiser steps
    batch_size: int = Field(default=32, ge=1)  # labelled images a step, over all processes
    chunk_size: int = Field(default=256, ge=1)  # images a forward at most; more are accumulated
    learning_rate: float = Field(default=3e-3, gt=0)  # of the head; layers below have less
    layer_decay: float = Field(default=0.9, gt=0, le=1)  # each layer has this times the next's
    weight_decay: float = Field(default=0.05, ge=0)  # of the backbone
    head_l2: float = Field(default=0.001, ge=0)  # of the head, instead of its own
    warmup: float = Field(default=0.1, ge=0, lt=1)  # share of the steps
    clip_norm: float = Field(default=1.0, gt=0)  # largest norm of all gradients together
    ema_decay: float = Field(default=0.999, ge=0, lt=1)  # reached by a warm-up
    unfreeze_from: str = ""  # prefix of a layer's name in timm; "": every layer is trained
    batch_norm: Literal["frozen", "train"] = "frozen"
    precision: Literal["auto", "float32"] = "auto"  # auto: bfloat16 on a GPU that has it
    shift: float = Field(default=0.125, ge=0, lt=1)  # furthest, as a share of the picture's side
    flip: bool = True  # mirrors one picture in two, left to right
    augment_ops: int = Field(default=2, ge=0)  # RandAugment operations on a labelled image
    augment_magnitude: int = Field(default=9, ge=0, le=30)  # torchvision's 31 bins, not timm's 10
    workers: int = Field(default=2, ge=0)  # processes that decode and augment; 0: the training's
    checkpoint_every_s: float = Field(default=60.0, gt=0)
    held_out: float = Field(default=0.2, gt=0, lt=1)  # share of the labels that judge the result
    promote_p: float = Field(default=0.05, gt=0, lt=1)  # of the paired test, at some level


class UdaSettings(Section):
    """Unlabelled images that train too (UDA, Xie et al. 2019, 1904.12848)."""

    weight: float = Field(default=1.0, ge=0)  # of the consistency loss; 0: no unlabelled image
    ratio: int = Field(default=7, ge=1)  # unlabelled images to each labelled one in a batch
    temperature: float = Field(default=0.4, gt=0, le=1)  # sharpens the target; 1: as it is
    threshold: float = Field(default=0.8, ge=0, lt=1)  # least probability of the best class
    annealing: Literal["off", "linear", "log", "exp"] = "off"
    augment_ops: int = Field(default=2, ge=0)  # RandAugment operations on an unlabelled image
    augment_magnitude: int = Field(default=9, ge=0, le=30)  # torchvision's 31 bins, not timm's 10


class ShowingSettings(Section):
    """What of a model people are shown; see `atlas.showing`."""

    # a level is shown once the lower bound of its accuracy is above it
    floor: float = Field(default=0.6, ge=0, le=1)
    # an image's class is taken back to its parent as far as being right so often asks for
    target: float = Field(default=0.9, gt=0, lt=1)


class LabelStudioSettings(Section):
    """Where annotators work. An empty `url` means: the one that `atlas up` starts."""

    url: str = ""
    public_url: str = ""  # "": browsers use the same
    token: str = ""
    port: int = Field(default=8080, ge=0, le=65535)
    command: str = ""  # "": found beside Atlas's own environment
    images: Literal["local-files", "inline"] = "local-files"
    overlap: int = Field(default=1, ge=1, le=9)  # people who label each image
    consensus: Consensus = "majority"


class ServiceSettings(Section):
    """The web API, the job queue and the clock."""

    host: str = "127.0.0.1"
    port: int = Field(default=8090, ge=0, le=65535)
    url: str = ""  # "": made of host and port
    broker_url: str = ""  # "": a folder in the project
    tick_s: float = Field(default=5.0, gt=0)
    reconcile_s: float = Field(default=20.0, gt=0)
    auto_rounds: bool = True
    picture_hosts: tuple[str, ...] = ()  # whose pictures the web API may fetch to predict


class RemindersSettings(Section):
    """Telling people that images wait. An empty `cron` means: nobody is told."""

    cron: str = ""
    zone: str = "UTC"
    quiet: str = ""  # "HH:MM-HH:MM" of every day
    least: int = Field(default=1, ge=1)  # images that wait
    pause_h: float = Field(default=20.0, ge=0)
    link: str = ""  # "": Label Studio's page
    webhook: str = ""
    slack: str = ""
    email_to: list[str] = Field(default_factory=list)
    email_from: str = ""
    smtp_host: str = ""
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_user: str = ""
    smtp_password: str = ""


class StoreSettings(Section):
    """The database. An empty `url` means SQLite in the project folder."""

    url: str = ""


class Settings(BaseSettings):
    """Everything a project can be told."""

    model_config = SettingsConfigDict(
        env_prefix="ATLAS_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    name: str = "atlas"
    seed: int = Field(default=0, ge=0)
    pool: PoolSettings = PoolSettings()
    backbone: BackboneSettings = BackboneSettings()
    audit: AuditSettings = AuditSettings()
    round: RoundSettings = RoundSettings()
    head: HeadSettings = HeadSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    uda: UdaSettings = UdaSettings()
    showing: ShowingSettings = ShowingSettings()
    label_studio: LabelStudioSettings = LabelStudioSettings()
    service: ServiceSettings = ServiceSettings()
    reminders: RemindersSettings = RemindersSettings()
    store: StoreSettings = StoreSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then what the file said."""
        return env_settings, init_settings
