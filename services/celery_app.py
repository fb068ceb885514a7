"""What `celery -A services.celery_app` loads: the app of the project in `ATLAS_PROJECT`."""

import os
from pathlib import Path

from atlas.project import Project
from services import logs
from services.celery_config import build_app

project = Project(Path(os.environ["ATLAS_PROJECT"]))
logs.set_up(project.run)
app = build_app(project)
app.set_default()
