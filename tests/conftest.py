"""Patched first, as the daemon is: everything that the tests import meets the same sockets and locks."""

from gevent import monkey

monkey.patch_all()

from tests.servers import database_url, postgresql_server, redis_url  # noqa: E402

__all__ = ["database_url", "postgresql_server", "redis_url"]
