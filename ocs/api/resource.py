"""What do all paths of the API have in common? The services behind them, and a bound on what comes in."""

from __future__ import annotations

from typing import TypeVar

import falcon

from ocs.api.http import Body, read_json
from ocs.api.services import Services

B = TypeVar("B", bound=Body)


class Resource:
    """One path; `on_get`, `on_post` … are its methods."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def _read(self, req: falcon.Request, model: type[B]) -> B:
        """The JSON body as `model`; every field that is wrong is named. Raises CallerError."""
        return read_json(req, model, self._services.max_body_bytes)
