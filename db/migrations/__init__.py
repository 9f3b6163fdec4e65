"""Alembic revisions, run by `db.migrate.upgrade`."""
