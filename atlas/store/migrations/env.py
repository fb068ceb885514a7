"""Alembic's entry point: upgrades the connection that `Database` hands over."""

from alembic import context

from atlas.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
