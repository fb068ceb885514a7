"""Where the project's rows live: SQLAlchemy tables, sessions and Alembic migrations."""
