"""Every page in one router; `public` needs no token anywhere: it is how people sign in."""

from fastapi import APIRouter

from services.dashboard import (
    annotators,
    assets,
    jobs,
    level,
    map_page,
    models,
    overview,
    queue,
    schedule,
    sign_in,
)

router, public = APIRouter(), APIRouter()
_PAGES = (overview, level, queue, map_page, models, schedule, jobs, annotators)
for _one in _PAGES:
    router.include_router(_one.router)
for _one in (assets, sign_in):
    public.include_router(_one.router)
