"""Patched first, as the daemon is: everything that the tests import meets the same sockets and locks."""

from gevent import monkey

monkey.patch_all()

import logging  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import structlog  # noqa: E402
from gevent.hub import Hub  # noqa: E402

from db.migrate import upgrade  # noqa: E402
from tests.servers import database_url, postgresql_server, redis_url  # noqa: E402

# A test that takes too long is told so by a signal, often while the loop waits: it must end there, too.
Hub.SYSTEM_ERROR = (*Hub.SYSTEM_ERROR, pytest.fail.Exception)

__all__ = ["database_url", "postgresql_server", "redis_url"]


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """A test that configures logs (every command line does) must not leave its closed stream to the next."""
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


@pytest.fixture
def quiet() -> None:
    """Only what is critical is logged; `logs_as_before` puts it back."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database without a row, to be copied."""
    path = tmp_path_factory.mktemp("blank") / "blank.db"
    upgrade(f"sqlite:///{path}")
    return path
