"""The clock, as data: what the beat sends and how often."""

from typing import Any

from atlas.settings import ServiceSettings


def beat_schedule(service: ServiceSettings) -> dict[str, dict[str, Any]]:
    """Celery's beat table. A tick that waited a whole period is dropped: the next one is there."""
    return {
        "tick": {
            "task": "atlas.tick",
            "schedule": service.tick_s,
            "kwargs": {"by_clock": True},
            "options": {"expires": service.tick_s},
        },
    }
