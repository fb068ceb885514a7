"""`python -m services.api HOST PORT` serves the project in `ATLAS_PROJECT`."""

import os
from pathlib import Path
import sys

import uvicorn

from services.api import create_app

if __name__ == "__main__":
    uvicorn.run(
        create_app(Path(os.environ["ATLAS_PROJECT"])),
        host=sys.argv[1],
        port=int(sys.argv[2]),
        log_level="info",
        access_log=False,
        timeout_graceful_shutdown=2,
    )
