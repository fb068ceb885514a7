"""Whether this process answers; open to everybody, and says nothing else."""

from fastapi import APIRouter

from services.api.answers import Health

router = APIRouter()


@router.get("/healthz")
def healthz() -> Health:
    """Whether this process answers."""
    return Health(status="ok")
