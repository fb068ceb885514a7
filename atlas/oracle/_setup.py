"""Makes the Label Studio project what Atlas needs it to be. Repeating it changes nothing."""

import secrets

from atlas.errors import OracleError
from atlas.oracle._answers import GIVEN, GONE
from atlas.oracle._door import write_door
from atlas.oracle._label_config import render
from atlas.oracle._label_studio_api import Json, LabelStudioApi
from atlas.oracle._pictures import pictures
from atlas.project import Project
from atlas.store.tables import Meta

PROJECT_KEY = "label_studio_project"
MARKER_KEY = "label_studio_marker"
SECRET_HEADER = "X-Atlas-Secret"
WEBHOOK_PATH = "/label-studio/webhook"
WEBHOOK_ACTIONS = [*GIVEN, GONE]
STORAGE_TITLE = "Atlas pictures"
TAB = {"title": "Atlas queue", "ordering": ["tasks:predictions_score"]}


def set_up(project: Project, api: LabelStudioApi, webhook_url: str) -> int:
    """The id of the Label Studio project: found or made, its parts brought up to date."""
    wanted = {
        "title": project.settings.name[:50].ljust(3, "."),  # it wants 3 to 50 characters
        "label_config": render(project.taxonomy),
        "sampling": "Uncertainty sampling",
        "show_collab_predictions": True,
        "enable_empty_annotation": False,
        "maximum_annotations": 1,
        # A skip ends the task: Atlas may ask about the image again, as a new query.
        "skip_queue": "IGNORE_SKIPPED",
    }
    found = find_project(project, api)
    if found is None:
        made = api.create_project(description=_description(_marker(project)), **wanted)
        project_id = int(made["id"])
        _remember(project, project_id)
    else:
        project_id = int(found["id"])
        changes = {key: value for key, value in wanted.items() if found.get(key) != value}
        if changes:
            api.update_project(project_id, **changes)
    _set_tab(api, project_id)
    _set_storage(project, api, project_id)
    _set_webhook(project, api, project_id, webhook_url)
    return project_id


def find_project(project: Project, api: LabelStudioApi) -> Json | None:
    """The Label Studio project of this Atlas project, by its remembered id or by its marker.

    The marker in its description is what counts: an id may belong to another server.
    """
    marker = _description(_marker(project))
    remembered = remembered_project(project)
    if remembered is not None:
        candidate = api.project(remembered)
        if candidate is not None and marker in (candidate["description"] or ""):
            return candidate
    for candidate in api.projects():
        if marker in (candidate["description"] or ""):
            _remember(project, int(candidate["id"]))
            return candidate
    return None


def remembered_project(project: Project) -> int | None:
    """The id that the last `set_up` left in the database."""
    with project.database.reader() as session:
        row = session.get(Meta, PROJECT_KEY)
        return int(row.value) if row is not None else None


def _remember(project: Project, project_id: int) -> None:
    with project.database.session() as session:
        session.merge(Meta(key=PROJECT_KEY, value=str(project_id)))


def _marker(project: Project) -> str:
    with project.database.reader() as session:
        row = session.get(Meta, MARKER_KEY)
        if row is not None:
            return row.value
    with project.database.session() as session:
        row = session.get(Meta, MARKER_KEY)
        if row is None:  # nobody else was faster
            row = Meta(key=MARKER_KEY, value=secrets.token_hex(8))
            session.add(row)
        return row.value


def _description(marker: str) -> str:
    return f"Made by Atlas, project {marker}. Keep this line: Atlas finds its project by it."


def _set_tab(api: LabelStudioApi, project_id: int) -> None:
    # A labelling page opened by a link into a tab follows the tab's order, not the sampling.
    views = api.views(project_id)
    if not views:
        api.save_view(project_id, None, TAB)
    elif views[0]["data"].get("ordering") != TAB["ordering"]:
        api.save_view(project_id, int(views[0]["id"]), {**views[0]["data"], **TAB})


def _set_storage(project: Project, api: LabelStudioApi, project_id: int) -> None:
    if project.settings.label_studio.images == "inline":
        return
    folder = pictures(project)
    folder.mkdir(parents=True, exist_ok=True)
    write_door(project, project_id)
    ours = [s for s in api.storages(project_id) if s["title"] == STORAGE_TITLE]
    right = [s for s in ours if s["path"] == str(folder)]
    for storage in ours:
        if storage not in right[:1]:
            api.delete_storage(int(storage["id"]))
    if right:
        return
    try:
        api.create_storage(project_id, str(folder), STORAGE_TITLE)
    except OracleError as error:
        raise OracleError(
            f"Label Studio cannot serve pictures from {folder} ({error}); "
            'set label_studio.images = "inline" where it runs on another machine'
        ) from error


def _set_webhook(project: Project, api: LabelStudioApi, project_id: int, url: str) -> None:
    wanted: Json = {
        "url": url,
        "headers": {SECRET_HEADER: project.secret("webhook_secret")},
        "actions": WEBHOOK_ACTIONS,
        "is_active": True,
        "send_payload": True,
        "send_for_all_actions": False,
    }
    ours = [
        hook
        for hook in api.webhooks(project_id)
        if SECRET_HEADER in (hook["headers"] or {}) or hook["url"] == url
    ]
    if not ours:
        api.create_webhook(project_id, wanted)
        return
    for extra in ours[1:]:
        api.delete_webhook(int(extra["id"]))
    if any(ours[0].get(key) != value for key, value in wanted.items()):
        api.update_webhook(int(ours[0]["id"]), wanted)
