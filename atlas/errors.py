"""The errors Atlas raises on purpose. Each says what came, what was wanted and how to mend it.

AtlasError                  everything below; the command line prints it and exits with 2
├── SettingsError           atlas.toml or the environment
├── ProjectError            a project folder: missing, already there, newer than this Atlas
├── TaxonomyError           a taxonomy file or folder tree that cannot be one
├── PoolError               images: none found, labels outside the taxonomy
├── ImageError              one image that cannot be decoded (counted, not fatal to the rest)
├── BackboneError           weights that are missing or do not fit
├── CacheError              a bottleneck that is not in the cache
├── PluginError             an unknown sampler, head or balancer, or arguments it does not take
├── SamplerError            a batch that cannot be chosen
│   ├── PoolExhausted
│   └── NonFiniteScores
├── TrainingError           nothing to train on
├── OracleError             Label Studio
│   ├── OracleUnreachable
│   └── OracleRefused
├── ModelError              a model that is not there
├── BusyError               another process holds the project's lease
├── ServiceError            a process of `atlas up` that does not start or keeps dying
│   └── PortInUse
├── Stopped                 somebody asked for the work to stop
└── DiskFull                no room left where Atlas writes
"""

from collections.abc import Iterator
from contextlib import contextmanager
import errno
from pathlib import Path


class AtlasError(Exception):
    """Base of every error that a user can mend; the command line exits with `exit_code`."""

    exit_code = 2


class SettingsError(AtlasError):
    """Settings that are unknown, malformed or contradict each other."""


class ProjectError(AtlasError):
    """A project folder that is missing, already there, or newer than this Atlas."""


class TaxonomyError(AtlasError):
    """A taxonomy with a cycle, a duplicate path, a single-child node or an unknown node."""


class PoolError(AtlasError):
    """A pool that cannot be read, or truth outside the taxonomy."""


class ImageError(AtlasError):
    """One image that cannot be read or decoded."""


class BackboneError(AtlasError):
    """Pretrained weights that are missing or do not fit the architecture."""


class CacheError(AtlasError):
    """A bottleneck asked for that the cache does not hold."""


class PluginError(AtlasError):
    """An unknown plugin name, or arguments the plugin does not take."""


class SamplerError(AtlasError):
    """A batch that cannot be chosen."""


class PoolExhausted(SamplerError):
    """Fewer images are left than were asked for."""

    def __init__(self, *, asked: int, available: int) -> None:
        super().__init__(
            f"asked for {asked} images, the pool has {available} left; "
            "ask for fewer (-n, round.batch_size) or ingest more images"
        )
        self.asked = asked
        self.available = available


class NonFiniteScores(SamplerError):
    """Acquisition scores with NaN or infinity."""


class TrainingError(AtlasError):
    """Labels from which nothing can be learned yet."""


class OracleError(AtlasError):
    """The oracle answered with something Atlas cannot use."""


class OracleUnreachable(OracleError):
    """No answer from the oracle."""


class OracleRefused(OracleError):
    """The oracle refused the token or the request."""


class ModelError(AtlasError):
    """A model that is not in the registry, or a bundle that does not load."""


class BusyError(AtlasError):
    """Another process holds the project's lease."""


class ServiceError(AtlasError):
    """A part of `atlas up` that does not start or keeps dying."""


class PortInUse(ServiceError):
    """A port that another program listens on."""


class Stopped(AtlasError):
    """Somebody asked for the work to stop; what was finished is kept."""


class DiskFull(AtlasError):
    """No room left on the disk that Atlas writes to."""


@contextmanager
def explain_full_disk(path: Path) -> Iterator[None]:
    """Turn the operating system's "no space left" into `DiskFull` naming `path`.

    Raises:
        DiskFull: where the block raised ENOSPC or EDQUOT.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"no space left on the disk of {path}; free some room and repeat the command, "
                "what was finished before is kept"
            ) from error
        raise
