"""Which calls are open here? The registry, and one ordered mailbox a call.

A call is found by (switch, channel), by the channel it moved to, by its id and by the accounts that pay.
Closed calls linger a while, so that repeats and late CDRs meet the answer they had before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from gevent.event import AsyncResult

from ocs.ports import Timer
from ocs.rating.model import Pricer
from ocs.sessions.events import CallEvent, CallFound
from ocs.sessions.session import Session, State
from ocs.sessions.steps import Reaction

Key = tuple[str, str]
"""(switch name, channel)."""


class ActiveCall:
    """A call in this process: its session, its mailbox, its timers and the prices bound to its legs."""

    __slots__ = (
        "credit_ticks",
        "foreseen",
        "heard_ms",
        "mailbox",
        "price_pinned",
        "priced_at_ms",
        "pricers",
        "proven_at_ms",
        "running",
        "session",
        "timers",
        "unsaved",
    )

    def __init__(self, session: Session, heard_ms: int) -> None:
        self.session = session
        self.heard_ms = heard_ms
        """Monotonic time of the first event, for the latency of the decision."""
        self.proven_at_ms = session.proven_at_ms
        """When the switch last showed it alive; enters the session with the next event that changes it."""
        self.mailbox: deque[CallEvent | AsyncResult] = deque()
        """Events, and who waits for those before."""
        self.running = False
        self.credit_ticks: int | None = None
        self.foreseen: tuple[Session, CallEvent, Reaction] | None = None
        """The reaction to the ledger's last outcome, as it was worked out for the row stored with it."""
        self.unsaved = False
        """True while what the last report proved is not durable."""
        self.timers: dict[type, tuple[int, Timer]] = {}
        self.pricers: tuple[Pricer, ...] = ()
        self.priced_at_ms: int | None = None
        self.price_pinned = session.answered_at_ms is not None
        """True once the price is that of the answer: from then on tariff versions are pinned."""

    def knew(self, found: CallFound) -> bool:
        """True if the news that it is alive changes nothing but the time of its last proof."""
        session = self.session
        return (
            not self.running
            and session.misses == 0
            and session.gone_at_ms is None
            and (
                session.state in (State.TALKING, State.DRAINING)
                or (session.state is State.RINGING and found.answered_at_ms is None)
            )
        )


class CallRegistry:
    """Every call of this process by each name that it goes by."""

    def __init__(self) -> None:
        self._by_key: dict[Key, ActiveCall] = {}
        self._by_id: dict[str, ActiveCall] = {}
        self._by_account: dict[int, set[str]] = {}
        self._by_session: dict[Key, dict[str, ActiveCall]] = {}
        self._aliases: dict[Key, ActiveCall] = {}
        self._open: set[str] = set()

    @property
    def open_count(self) -> int:
        """Calls that are not closed."""
        return len(self._open)

    def __iter__(self) -> Iterator[ActiveCall]:
        return iter(list(self._by_id.values()))

    def add(self, call: ActiveCall) -> None:
        """Enter a call under its switch and channel, and under its id."""
        session = call.session
        self._by_key[session.switch, session.channel] = call
        self._by_id[session.call_id] = call
        if session.state is not State.CLOSED:
            self._open.add(session.call_id)
        self.index(call)

    def index(self, call: ActiveCall) -> None:
        """Enter what became known later: payers, and the channel that the call moved to."""
        session = call.session
        for leg in session.legs:
            self._by_account.setdefault(leg.account_id, set()).add(session.call_id)
        if session.moved:
            self._aliases[session.switch, session.live_channel] = call
        if session.session_id:
            parts = self._by_session.setdefault((session.switch, session.session_id), {})
            parts[session.call_id] = call

    def closed(self, call: ActiveCall) -> None:
        """A call is over: it lingers, without its prices."""
        self._open.discard(call.session.call_id)
        call.pricers = ()
        call.priced_at_ms = None

    def remove(self, call: ActiveCall) -> None:
        """Forget a call under all its names."""
        session = call.session
        if self._by_key.get((session.switch, session.channel)) is call:
            del self._by_key[session.switch, session.channel]
        self._by_id.pop(session.call_id, None)
        self._open.discard(session.call_id)
        if self._aliases.get((session.switch, session.live_channel)) is call:
            del self._aliases[session.switch, session.live_channel]
        if session.session_id:
            parts = self._by_session.get((session.switch, session.session_id), {})
            parts.pop(session.call_id, None)
            if not parts:
                self._by_session.pop((session.switch, session.session_id), None)
        for leg in session.legs:
            ids = self._by_account.get(leg.account_id)
            if ids is not None:
                ids.discard(session.call_id)
                if not ids:
                    del self._by_account[leg.account_id]

    def find(self, switch: str, channel: str) -> ActiveCall | None:
        """The call that was offered on this channel, or talks on it now."""
        return self._by_key.get((switch, channel)) or self._aliases.get((switch, channel))

    def of_session(self, switch: str, session_id: str) -> list[ActiveCall]:
        """The calls that are meters of this session at the switch, open or lingering."""
        return list(self._by_session.get((switch, session_id), {}).values())

    def by_id(self, call_id: str) -> ActiveCall | None:
        """The call with this id."""
        return self._by_id.get(call_id)

    def paid_by(self, account_id: int) -> list[ActiveCall]:
        """Open calls with a leg on this account."""
        ids = self._by_account.get(account_id, ())
        return [call for call_id in ids if (call := self._by_id.get(call_id)) is not None]

    def open_on(self, switch: str) -> dict[str, str]:
        """Channel to live channel of each call on a switch that is not over."""
        over = (State.NEW, State.SETTLING, State.CLOSED)
        return {
            call.session.channel: call.session.live_channel
            for (name, _), call in self._by_key.items()
            if name == switch and call.session.state not in over
        }

    def open_holds(self) -> int:
        """How many legs of open calls have money set aside."""
        over = (State.NEW, State.ASKING, State.CLOSED)
        sessions = [call.session for call in self._by_key.values() if call.session.state not in over]
        return sum(leg.holds for session in sessions for leg in session.legs)

    def open_by_state(self) -> dict[str, int]:
        """How many calls are in each state (closed ones that linger left out)."""
        counts: dict[str, int] = {}
        for call in self._by_key.values():
            if call.session.state is not State.CLOSED:
                counts[call.session.state.value] = counts.get(call.session.state.value, 0) + 1
        return counts
