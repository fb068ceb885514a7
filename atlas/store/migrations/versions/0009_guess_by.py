"""Who made the guesses."""

from alembic import op
import sqlalchemy as sa

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """By whom each query's guess is; of those that are there it is not known."""
    op.add_column(
        "queries", sa.Column("guess_by", sa.String(64), nullable=False, server_default="")
    )
