"""How is a call on a Kamailio with ims_dialog ended, and seen to be gone?

Its JSON-RPC lists all dialogs or none: there is no look-up of one, and what did not fit into its memory is
missing without a word. So a list is believed only if it has as many calls that are up as Kamailio counts.

Dialogs that Kamailio itself ended stay listed for ever as "Deleted": 5.6.3 keeps a reference too many.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import structlog

from ocs.errors import OutsideError
from ocs.ports import ControlledCall
from ocs.services.sip_names import folded
from switch_adapters.kamailio.control import DialogControl
from switch_adapters.kamailio.jsonrpc import Unreachable

log = structlog.get_logger(__name__)

_UP: Final = "Confirmed"
_OVER: Final = "Deleted"
_COUNT: Final = "dialog_ng.active"


class ImsDialog(NamedTuple):
    """One dialog of the list. state: Unconfirmed, Early, Confirmed, Deleted."""

    entry: int
    ident: int
    call_id: str
    state: str


class ImsControl(DialogControl[ImsDialog]):
    """A `ocs.ports.CallControl` for docker/kamailio-ims. The handle "call_id" must be there: the Call-ID.

    Limits are the quotas of credit control: none can be set from here.
    """

    extends: Final = False

    def limit(self, call: ControlledCall, total_ms: int, left_ms: int) -> bool:
        """Never taken: see `extends`."""
        return False

    def listing(self) -> set[str] | None:
        """Call-IDs, folded, of all calls that ring or are up. None: not to be believed; it proves nothing."""
        try:
            return {folded(dialog.call_id) for dialog in self._all() if dialog.state != _OVER}
        except OutsideError as fault:
            log.warning("listing_failed", url=self._config.url, fault=fault.message)
            return None

    def _call_id(self, call: ControlledCall) -> str:
        if call_id := call.handles.get("call_id"):
            return call_id
        raise Unreachable("the client did not say its Call-ID (User-Session-ID)")

    def _look(self, call_id: str) -> list[ImsDialog]:
        return [dialog for dialog in self._all() if dialog.call_id == call_id and dialog.state != _OVER]

    def _order(self, call_id: str, dialog: ImsDialog) -> None:
        """One that rings is refused with 488 to the caller and cancelled at the callee."""
        self._rpc.call("dlg2.end_dlg", dialog.entry, dialog.ident)

    def _all(self) -> list[ImsDialog]:
        before = self._count()
        result = self._rpc.call("dlg2.list", listing=True)
        after = self._count()
        rows = result.get("Dialogs") if isinstance(result, dict) else None
        if not isinstance(rows, list):
            raise Unreachable("dlg2.list without dialogs")
        dialogs = [_dialog(row) for row in rows]
        up = sum(dialog.state == _UP for dialog in dialogs)
        if up < min(before, after):
            raise Unreachable(f"a list of {up} calls where {min(before, after)} are up")
        return dialogs

    def _count(self) -> int:
        result = self._rpc.call("stats.fetch", _COUNT.replace(".", ":"))
        try:
            return int(result[_COUNT])
        except (KeyError, TypeError, ValueError):
            raise Unreachable("stats.fetch without a number") from None


def _dialog(row: Any) -> ImsDialog:
    """Raises Unreachable: what cannot be read proves nothing, least of all that a call is gone."""
    try:
        inner = row["Dialog"]
        return ImsDialog(int(inner["Entry"]), int(inner["Id"]), str(inner["Call-ID"]), str(inner["State"]))
    except (KeyError, TypeError, ValueError) as fault:
        raise Unreachable(f"a dialog that cannot be read: {fault!r}") from None
