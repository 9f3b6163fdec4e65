"""/v1/authorize and /v1/events: a NAS asks before a call, and reports on it. On the path of every call.

The body is JSON whatever its content type says: Kamailio's http_client names one only if the script does. A
business "no" is 200 with `allow` false; 503 with Retry-After means that nothing could be decided or kept, and
asking again (or another server) may help; 404 and 422 will not become better by repeating.
"""

from __future__ import annotations

from typing import Final

import falcon

from ocs.api.http import answer, read_bytes
from ocs.api.services import Services
from ocs.refusals import Refusal
from ocs.services.nas_json import BadReport, load
from ocs.services.nas_questions import NasQuestions

PATHS: Final = ("/v1/authorize", "/v1/events")
"""What a NAS may do with its own token."""
MAX_BODY: Final = 65_536
RETRY_AFTER_S: Final = 1

_LATER: Final = (Refusal.UNAVAILABLE.value, Refusal.OVERLOADED.value)


def add_routes(app: falcon.App[falcon.Request, falcon.Response], services: Services) -> None:
    """Mount the topic."""
    questions = NasQuestions(services.nas, services.now_ms, services.bad_input)
    app.add_route("/v1/authorize", Authorize(questions))
    app.add_route("/v1/events", Events(questions))


class Authorize:
    """/v1/authorize."""

    def __init__(self, questions: NasQuestions) -> None:
        self._questions = questions

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """May this call start, and for how long? See `ocs.services.nas_json` for the words."""
        try:
            told = self._questions.authorise(load(read_bytes(req, MAX_BODY)))
        except BadReport as fault:
            raise _unreadable(fault) from None
        answer(resp, told)
        if told.get("reason") in _LATER:
            _later(resp)


class Events:
    """/v1/events."""

    def __init__(self, questions: NasQuestions) -> None:
        self._questions = questions

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """What became of a call. 200 only when it is durable; repeats get the same answer."""
        try:
            told = self._questions.report(load(read_bytes(req, MAX_BODY)))
        except BadReport as fault:
            raise _unreadable(fault) from None
        answer(resp, told)
        if not told["kept"]:
            _later(resp)


def _later(resp: falcon.Response) -> None:
    resp.status = falcon.HTTP_503
    resp.set_header("Retry-After", str(RETRY_AFTER_S))


def _unreadable(fault: BadReport) -> falcon.HTTPError:
    return falcon.HTTPUnprocessableEntity(description="; ".join(filter(None, (fault.message, fault.hint))))
