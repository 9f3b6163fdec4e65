"""How is a call charged that a caller of the IVR makes from its menu? As any other, by the same machine.

The caller's own leg stays with the IVR and costs nothing here; what is charged is the far end's leg, from its
answer to its end. `CardCalls` is its switch: it offers the call with the account that the IVR has proved,
bridges only after the hold is committed, and takes the orders of the charging (move the limit, warn, cut) to
the far end's leg, so that a caller whose money is gone comes back to the menu. Every call offered here is
ended here, once, however the line comes back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from ocs.ports import Clock
from ocs.refusals import Refusal
from ocs.services.charge_calls import ChargeCalls
from ocs.services.identify import Rule
from ocs.sessions.events import (
    Allow,
    Answered,
    Cut,
    Ended,
    EndedBy,
    Limit,
    Mode,
    Offered,
    Reach,
    Reask,
    Reject,
    SwitchCommand,
    SwitchLost,
    Warn,
)
from ocs.sessions.session import State

log = structlog.get_logger("ocs.ivr")

PREFIX: Final = "ivr:"
"""Begins the name of these calls' switch; no switch of the settings may have a colon in its name."""

ACCOUNT_FACT: Final = "ivr_account"

PAYER_RULE: Final = Rule(match=ACCOUNT_FACT, when={"switch": f"{PREFIX}.*"})
"""Stands before the payer rules of the settings: who pays for these calls only the IVR says."""

GRACE_MS: Final = 10_000
"""A call whose end nobody reports (the daemon was killed) is given up so long after its dead-man's switch."""

CUT_CAUSE: Final = "ALLOTTED_TIMEOUT"
"""Hang-up cause of a far end whose money is gone, from us and from the dead-man's switch."""


@dataclass(frozen=True, slots=True)
class LineEnd:
    """How the far end's leg ended. Times are the switch's.

    known False: the connection was lost, or we let go; whether people still talk nobody here can say.
    """

    cause: str
    at_ms: int
    answered_at_ms: int | None = None
    talk_ms: int | None = None
    by: EndedBy = EndedBy.UNKNOWN
    known: bool = True


class Line(Protocol):
    """The far end's leg of one call, on the caller's connection."""

    @property
    def channel(self) -> str:
        """The leg's id, never used before."""
        ...

    def connect(
        self,
        destination: str,
        *,
        switch: str,
        call_id: str,
        granted_ms: int,
        on_answer: Callable[[int], None],
    ) -> LineEnd:
        """Call the far end and let them talk; returns when that is over. It must end by itself granted_ms
        (and a margin) after its answer if no order comes. `on_answer` is told the time; it does not wait.
        The leg's record by the telephone switch must name `switch`: should we be gone, only that tells of it.
        """
        ...

    def limit(self, left_ms: int) -> bool:
        """Let the leg end by itself this long from now (and a margin)."""
        ...

    def warn(self) -> bool:
        """Let the caller hear that the money ends."""
        ...

    def cut(self, *, by_operator: bool) -> bool:
        """End the leg; the caller stays."""
        ...

    def abandon(self) -> None:
        """Order the leg ended without waiting for anything."""
        ...


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of a call. refusal: it was not made. ran_out: the money ended it."""

    refusal: Refusal | None = None
    answered: bool = False
    cause: str = ""
    talk_ms: int = 0
    ran_out: bool = False


@dataclass
class _Open:
    line: Line
    cut: str = ""
    """Why we ended it."""


class CardCalls:
    """The switch of these calls (`ocs.ports.Switch`). `place` runs in the caller's greenlet."""

    def __init__(
        self,
        name: str,
        charging: ChargeCalls,
        clock: Clock,
        *,
        deadman_ms: int = 2_000,
        ours: Callable[[str], bool] = lambda name: True,
    ) -> None:
        """deadman_ms: how long after the paid end the dead-man's switch ends a far end at the latest.

        ours: is the switch of this name this daemon's now? Else no call is made: another may settle it.
        """
        assert name.startswith(PREFIX)
        self.name = name
        self._charging = charging
        self._clock = clock
        self._grace_ms = deadman_ms + GRACE_MS
        self._ours = ours
        self._open: dict[str, _Open] = {}
        charging.attach(self)

    @property
    def open_calls(self) -> int:
        """Calls that ring or talk."""
        return len(self._open)

    def place(self, line: Line, account: str, origin: str, destination: str) -> Placed:
        """Make a call for an account; returns when it is settled. It never raises for what the line does."""
        if not self._ours(self.name):
            log.warning("card_call_refused", switch=self.name, why="its lease is not ours")
            return Placed(refusal=Refusal.UNAVAILABLE)
        opened = self._open[line.channel] = _Open(line)
        try:
            return self._place(opened, account, origin, destination)
        finally:
            del self._open[line.channel]

    def stop(self) -> None:
        """End every far end, so that all is settled before we go: nobody would meter them after us."""
        for opened in list(self._open.values()):
            opened.cut = opened.cut or "stopping"
            opened.line.abandon()

    def let_go(self) -> None:
        """Another daemon has these calls: end their far ends, forget them as they are. It settles them by the
        telephone switch's records.
        """
        for opened in list(self._open.values()):
            opened.line.abandon()
        self._charging.let_go(self.name)
        self._charging.attach(self)

    def _place(self, opened: _Open, account: str, origin: str, destination: str) -> Placed:
        channel = opened.line.channel
        handled = self._charging.ask(
            self.name,
            channel,
            Offered(
                at_ms=self._clock.now_ms(),
                mode=Mode.AUTHORISE,
                origin=origin,
                destination=destination,
                attributes={ACCOUNT_FACT: account},
                reach=Reach(grace_ms=self._grace_ms),
            ),
        )
        if handled is None or handled.session.state is not State.RINGING:
            refusal = handled.session.refusal if handled else None
            return Placed(refusal=refusal or Refusal.UNAVAILABLE)
        session = handled.session
        answered_at_ms: list[int] = []

        def answered(at_ms: int) -> None:
            answered_at_ms.append(at_ms)
            self._charging.deliver(self.name, channel, Answered(at_ms))

        try:
            end = opened.line.connect(
                session.destination,
                switch=self.name,
                call_id=session.call_id,
                granted_ms=session.granted_ms,
                on_answer=answered,
            )
        except BaseException:  # ours: the far end must not talk on unmetered, nor its hold stay
            opened.line.abandon()
            at_ms = self._clock.now_ms()
            self._charging.deliver(self.name, channel, _broken_off(at_ms, answered_at_ms))
            raise
        return self._report(opened, end)

    def _report(self, opened: _Open, end: LineEnd) -> Placed:
        channel = opened.line.channel
        if not end.known:
            opened.line.abandon()
            self._charging.deliver(self.name, channel, SwitchLost(self._clock.now_ms()))
            log.warning("card_call_lost", channel=channel, cause=end.cause)
            return Placed(answered=end.answered_at_ms is not None, cause=end.cause)
        by = end.by
        if opened.cut:
            by = EndedBy.OPERATOR if opened.cut == "operator" else EndedBy.US
        talk_ms = 0 if end.answered_at_ms is None else end.talk_ms
        ended = Ended(end.at_ms, talk_ms, end.cause, by, end.answered_at_ms)
        self._charging.ask(self.name, channel, ended)
        # The switch's own timer, should our order have come late, ends a leg with the same cause.
        ran_out = opened.cut == Refusal.INSUFFICIENT_FUNDS.value or (
            not opened.cut and end.cause == CUT_CAUSE
        )
        return Placed(None, end.answered_at_ms is not None, end.cause, talk_ms or 0, ran_out)

    # --- orders of the charging -------------------------------------------------------------------

    def perform(self, command: SwitchCommand) -> bool:
        """See `ocs.ports.Switch.perform`. False: there is no such call in this life of the daemon."""
        opened = self._open.get(command.channel)
        if opened is None:
            return False
        match command:
            case Allow() | Reject():
                return True  # `place` reads the answer itself, and bridges or does not
            case Limit():
                return opened.line.limit(command.until_ms - self._clock.now_ms())
            case Warn():
                return opened.line.warn()
            case Cut():
                opened.cut = command.why
                return opened.line.cut(by_operator=command.why == "operator")
            case Reask():
                return False


def _broken_off(at_ms: int, answered_at_ms: list[int]) -> Ended:
    if not answered_at_ms:
        return Ended(at_ms, 0, "FAILED")
    return Ended(at_ms, None, "FAILED", answered_at_ms=answered_at_ms[0])
