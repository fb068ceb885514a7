"""Several annotators an image."""

from alembic import op
import sqlalchemy as sa

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """How many people a query is asked, whether one more was, and how many were too many."""
    # One by one: in a batch SQLite would rebuild the table, and annotations point at its rows.
    op.add_column("queries", sa.Column("overlap", sa.Integer(), nullable=False, server_default="1"))
    op.add_column(
        "queries", sa.Column("extra", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("queries", sa.Column("surplus", sa.Integer(), nullable=False, server_default="0"))
