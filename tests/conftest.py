"""Patched first, as the daemon is: everything that the tests import meets the same sockets and locks."""

from gevent import monkey

monkey.patch_all()

import logging  # noqa: E402
from collections.abc import Iterator  # noqa: E402

import pytest  # noqa: E402
import structlog  # noqa: E402

from tests.servers import database_url, postgresql_server, redis_url  # noqa: E402

__all__ = ["database_url", "postgresql_server", "redis_url"]


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """A test that configures logs (every command line does) must not leave its closed stream to the next."""
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
