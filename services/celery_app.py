"""What `celery -A services.celery_app` loads: the app of the project in `ATLAS_PROJECT`."""

import os
from pathlib import Path

from atlas.project import Project
from services import logs
from services.celery_config import build_app

if logs.LOG_LINES in os.environ:
    logs.use_json_lines(os.environ[logs.LOG_LINES])
    logs.keep_celery_from_logging_otherwise()
app = build_app(Project(Path(os.environ["ATLAS_PROJECT"])))
app.set_default()
