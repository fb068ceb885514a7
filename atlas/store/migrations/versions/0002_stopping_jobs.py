"""Jobs can be asked to stop."""

from alembic import op
import sqlalchemy as sa

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """When somebody asked a job to stop."""
    op.add_column("jobs", sa.Column("stop_asked_at", sa.DateTime(timezone=True), nullable=True))
