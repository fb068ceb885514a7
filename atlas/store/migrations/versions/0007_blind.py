"""Blind queries."""

from alembic import op
import sqlalchemy as sa

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Which queries are asked without a guess: so far the audit images."""
    # Not in a batch: SQLite would rebuild the table, and annotations point at its rows.
    op.add_column(
        "queries", sa.Column("blind", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    queries = sa.table("queries", sa.column("kind"), sa.column("blind", sa.Boolean()))
    op.execute(queries.update().where(queries.c.kind == "audit").values(blind=True))
