"""How is a call on a Kamailio ended, limited, and seen to be gone?

Kamailio says yes to orders that it does not carry out (`dlg.end_dlg` on a call that rings), and a BYE may be
lost: only a look at its dialogs tells. So every order is followed by looks, and given again.

A dialog's state: 1 offered, 2 rings, 3 answered (no ACK yet), 4 up, 5 over (kept for a while).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Generic, TypeVar

import gevent
import structlog

from ocs.errors import OutsideError
from ocs.ports import ControlledCall, Ending
from ocs.services.sip_names import folded
from switch_adapters.kamailio.config import KamailioConfig
from switch_adapters.kamailio.jsonrpc import JsonRpc, RpcFault, Unreachable

log = structlog.get_logger(__name__)

_RINGS: Final = 2
_UNCONFIRMED: Final = 3
_OVER: Final = 5
_LOOKS_S: Final = (0.02, 0.05, 0.1, 0.2)
"""Pauses between looks: a phone on the spot is gone after the first, one far away after the last but one."""


@dataclass(frozen=True, slots=True)
class Dialog:
    """One dialog that is not over. cseq: of the INVITE."""

    entry: int
    ident: int
    state: int
    cseq: str


Found = TypeVar("Found")
"""What a look finds of a call: enough to give the order."""


class DialogControl(ABC, Generic[Found]):
    """An order to end a call is followed by looks until it is gone: what both dialog modules need."""

    def __init__(self, config: KamailioConfig, *, sleep: Callable[[float], None] = gevent.sleep) -> None:
        self._config = config
        self._rpc = JsonRpc(config)
        self._sleep = sleep

    def end(self, call: ControlledCall, why: str) -> Ending:
        """End the call, ringing or answered, and see that it is gone. GONE or FAILED, nothing in between."""
        call_id = ""
        try:
            call_id = self._call_id(call)
            ending = self._end(call_id)
        except OutsideError as fault:
            log.warning("call_not_ended", url=self._config.url, call_id=call_id, why=why, fault=fault.message)
            return Ending.FAILED
        log.info("call_ended", url=self._config.url, call_id=call_id, why=why, result=ending.value)
        return ending

    def _call_id(self, call: ControlledCall) -> str:
        return call.handles.get("call_id") or call.channel

    def _end(self, call_id: str) -> Ending:
        for _ in range(self._config.attempts):
            dialogs = self._settled(call_id)
            for dialog in dialogs:
                try:
                    self._order(call_id, dialog)
                except RpcFault as fault:
                    # "Dialog not found", "Transaction not found": it went meanwhile, as the next look shows.
                    log.info("order_refused", url=self._config.url, call_id=call_id, fault=fault.message)
            if not dialogs or self._gone(call_id):
                return Ending.GONE
        return Ending.FAILED

    def _gone(self, call_id: str) -> bool:
        waited_s = 0.0
        for pause_s in chain(_LOOKS_S, iter(lambda: _LOOKS_S[-1], None)):
            if waited_s >= self._config.confirm_s:
                return False
            self._sleep(pause_s)
            waited_s += pause_s
            if not self._look(call_id):
                return True
        return False

    def _settled(self, call_id: str) -> Sequence[Found]:
        return self._look(call_id)

    @abstractmethod
    def _look(self, call_id: str) -> Sequence[Found]:
        """The call's dialogs that are not over. Raises OutsideError if that cannot be seen."""

    @abstractmethod
    def _order(self, call_id: str, dialog: Found) -> None:
        """Have Kamailio end a dialog. Raises RpcFault if it refuses, Unreachable."""


class KamailioControl(DialogControl[Dialog]):
    """A `ocs.ports.CallControl`. Its handle "call_id" is the Call-ID; without it, the channel is."""

    @property
    def extends(self) -> bool:
        """See `ocs.ports.CallControl.extends`."""
        return self._config.extends

    def limit(self, call: ControlledCall, total_ms: int, left_ms: int) -> bool:
        """Let Kamailio itself end the call `left_ms` from now plus the margin, or `total_ms` from its answer
        if it still rings. False: not taken, or no such call.
        """
        call_id = self._call_id(call)
        try:
            taken = [
                self._rpc.post(
                    "limit",
                    {
                        "h_entry": dialog.entry,
                        "h_id": dialog.ident,
                        "seconds": self._seconds(total_ms if dialog.state <= _RINGS else left_ms),
                    },
                )
                for dialog in self._look(call_id)
            ]
        except OutsideError as fault:
            log.warning("call_not_limited", url=self._config.url, call_id=call_id, fault=fault.message)
            return False
        return bool(taken) and all(taken)

    def listing(self) -> set[str] | None:
        """Channels (Call-IDs, folded) of all calls that ring or are up. None: not to be believed; it proves
        nothing.

        A listing that is cut short must not look complete, so the number of calls is asked for, too: before
        and after, as calls begin in between. Those that end in between stay listed for seconds.
        """
        try:
            before = self._count()
            if before > self._config.listing_calls:
                raise Unreachable(f"{before} calls are more than may be listed")
            rows = self._rpc.call("dlg.briefing", "cs", listing=True)
            after = self._count()
        except OutsideError as fault:
            log.warning("listing_failed", url=self._config.url, fault=fault.message)
            return None
        if not isinstance(rows, list):
            rows = [rows] if rows else []
        if len(rows) < min(before, after) or not all(_is_listed(row) for row in rows):
            log.warning("listing_incomplete", url=self._config.url, rows=len(rows), calls=min(before, after))
            return None
        return {folded(row["call-id"]) for row in rows if row["state"] < _OVER}

    # --- inside -------------------------------------------------------------------------------------

    def _settled(self, call_id: str) -> list[Dialog]:
        """Its dialogs, after an answer's ACK had a moment to come: a BYE that overtakes it may be lost."""
        dialogs = self._look(call_id)
        for pause_s in _LOOKS_S:
            if not any(dialog.state == _UNCONFIRMED for dialog in dialogs):
                break
            self._sleep(pause_s)
            dialogs = self._look(call_id)
        return dialogs

    def _order(self, call_id: str, dialog: Dialog) -> None:
        if dialog.state > _RINGS:
            self._rpc.call("dlg.end_dlg", dialog.entry, dialog.ident)
        elif self._config.extends:
            self._rpc.post("cancel", {"call_id": call_id, "cseq": dialog.cseq})
        else:
            self._rpc.call("tm.cancel", call_id, dialog.cseq)

    def _look(self, call_id: str) -> list[Dialog]:
        """The call's dialogs that are not over; a look-up by hash, whatever the number of calls."""
        result = self._rpc.call("dlg.dlg_list", call_id)
        rows = result if isinstance(result, list) else [result] if result else []
        return [dialog for row in rows if (dialog := _dialog(row)).state < _OVER]

    def _count(self) -> int:
        result = self._rpc.call("dlg.stats_active")
        count = result.get("all") if isinstance(result, dict) else None
        if not isinstance(count, int):
            raise Unreachable("dlg.stats_active without a number")
        return count

    def _seconds(self, ms: int) -> int:
        return max(0, -(-ms // 1000)) + self._config.margin_s


def _is_listed(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("call-id"), str) and isinstance(row.get("state"), int)


def _dialog(row: Any) -> Dialog:
    """Raises Unreachable: what cannot be read proves nothing, least of all that a call is gone."""
    try:
        return Dialog(int(row["h_entry"]), int(row["h_id"]), int(row["state"]), str(row["caller"]["cseq"]))
    except (KeyError, TypeError, ValueError) as fault:
        raise Unreachable(f"a dialog that cannot be read: {fault!r}") from None
