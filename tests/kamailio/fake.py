"""A Kamailio that is only its JSON-RPC: dialogs as a test sets them, answers shaped as the recorded ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gevent import sleep
from gevent.pywsgi import WSGIServer

RECORDED: Final[dict[str, tuple[int, str]]] = {
    name: tuple(answer)
    for name, answer in json.loads(
        (Path(__file__).parents[1] / "goldens" / "kamailio" / "jsonrpc.json").read_text()
    ).items()
}

RINGS, UNCONFIRMED, UP, OVER = 2, 3, 4, 5


class FakeKamailio:
    """dialogs: Call-ID to state. `on_end`, `on_cancel`: what an order does; by default it works at once.

    `answers`: method or route to (status, body) that is answered instead. `asked`: all that was asked.
    """

    def __init__(self) -> None:
        self.dialogs: dict[str, int] = {}
        self.asked: list[tuple[str, Any]] = []
        self.answers: dict[str, tuple[int, str]] = {}
        self.counted: int | None = None
        self.delay_s = 0.0
        self.most_at_once = self._at_once = 0
        self.on_end: Callable[[str], object] = lambda call_id: self.dialogs.__setitem__(call_id, OVER)
        self.on_cancel: Callable[[str], object] = lambda call_id: self.dialogs.__setitem__(call_id, OVER)
        self._server = WSGIServer(("127.0.0.1", 0), self._serve, log=None)
        self._server.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/RPC"

    def stop(self) -> None:
        self._server.stop(0)

    def orders(self) -> list[tuple[str, Any]]:
        """What was asked except looks."""
        return [(name, what) for name, what in self.asked if name not in ("dlg.dlg_list", "dlg.stats_active")]

    def _serve(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        question = json.loads(environ["wsgi.input"].read())
        route = environ["PATH_INFO"].removeprefix("/")
        name = question["method"] if route == "RPC" else route
        self.asked.append((name, question.get("params", question)))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        sleep(self.delay_s)
        self._at_once -= 1
        status, body = self.answers.get(name) or self._answer(name, question)
        start(f"{status} said", [("Content-Type", "application/json")])
        return [body.encode()]

    def _answer(self, name: str, question: dict[str, Any]) -> tuple[int, str]:
        calls = list(self.dialogs)
        match name:
            case "dlg.dlg_list":
                (call_id,) = question["params"]
                return _result(self._dialog(call_id) if call_id in self.dialogs else {})
            case "dlg.briefing":
                rows = [
                    {"h_entry": 1, "h_id": calls.index(c), "call-id": c, "state": self.dialogs[c]}
                    for c in calls
                ]
                return _result(rows)
            case "dlg.stats_active":
                active = sum(state < OVER for state in self.dialogs.values())
                return _result({"all": active if self.counted is None else self.counted})
            case "dlg.end_dlg":
                call_id = calls[question["params"][1]]
                if self.dialogs[call_id] > RINGS:
                    self.on_end(call_id)
                return RECORDED["dlg.end_dlg up"]
            case "cancel":
                self.on_cancel(question["call_id"])
                return 200, "{}"
            case "tm.cancel":
                self.on_cancel(question["params"][0])
                return _result("branches remaining (waiting for timeout)")
            case "limit":
                return (200, "{}") if question["h_id"] < len(calls) else (404, "{}")
        return RECORDED["method not allowed"]

    def _dialog(self, call_id: str) -> dict[str, Any]:
        dialog: dict[str, Any] = json.loads(RECORDED["dlg.dlg_list up"][1])["result"]
        ident = list(self.dialogs).index(call_id)
        return dialog | {"h_entry": 1, "h_id": ident, "call-id": call_id, "state": self.dialogs[call_id]}


def _result(result: Any) -> tuple[int, str]:
    return 200, json.dumps({"jsonrpc": "2.0", "result": result, "id": 1})
