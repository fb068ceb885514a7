"""What `celery -A services.celery_app` loads: the app of the project in `ATLAS_PROJECT`."""

import os
from pathlib import Path

from atlas.project import Project
from services.celery_config import build_app

app = build_app(Project(Path(os.environ["ATLAS_PROJECT"])))
app.set_default()
