"""How does the daemon come by its database? Its engine, its committer, and what is wrong with it."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from db.committer import Committer
from db.engine import make_engine, reading
from db.migrate import is_current
from ocs.errors import OutsideError
from ocs.ports import Clock
from ocs.runtime.metrics import Metrics
from ocs.runtime.settings import Settings


def open_engine(settings: Settings) -> Engine:
    """The engine of the settings' database. Raises OutsideError if it is away, or of another version."""
    wanted = settings.database
    engine = make_engine(
        wanted.full_url(),
        pool_size=wanted.pool_size,
        connect_timeout_s=wanted.connect_timeout_s,
        statement_timeout_ms=wanted.statement_timeout_ms,
    )
    fault = database_fault(engine)
    if fault:
        engine.dispose()
        raise OutsideError(f"the database {wanted.full_url()} cannot be used: {fault}", hint="ocs db upgrade")
    return engine


def open_committer(settings: Settings, engine: Engine, clock: Clock, metrics: Metrics) -> Committer:
    """The one who writes to it."""
    wanted = settings.database
    return Committer(
        engine,
        clock,
        max_batch=wanted.batch_max_commands,
        max_wait_ms=wanted.batch_wait_ms,
        queue_bound=wanted.queue_max_commands,
        observer=metrics,
    )


def database_fault(engine: Engine) -> str:
    """Why the database cannot be used now; empty: it can."""
    try:
        with reading(engine) as connection:
            return "" if is_current(connection) else "its tables are not those of this version"
    except (SQLAlchemyError, OSError, OutsideError) as fault:
        return str(fault).partition("\n")[0]
