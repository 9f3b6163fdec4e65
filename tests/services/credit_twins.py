"""A Diameter client to charge sessions at: its words as a rater would say them, and a control that obeys.

Sessions count seconds of talk to Germany unless a service is named: "data" counts octets and "sms" units, at
tariffs of their own, by rating group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import gevent
from sqlalchemy import select

from db import tables
from db.rehearse import Rehearsals
from db.repositories.calls import CallRepository
from ocs.ports import Ending
from ocs.services.charge_calls import ChargeCalls
from ocs.services.credit_control import (
    CreditAnswer,
    CreditControl,
    CreditRequest,
    ServiceGrant,
    ServiceTerms,
    ServiceUse,
)
from ocs.services.recover_calls import recover_calls
from tests.rating.make import tariff
from tests.services.desk import TestDesk
from tests.services.door_lab import DoorLab

T = TypeVar("T")

CLIENT = "ims"
LAPSE_MS = 60_000
KB: Final = 1_000_000
"""1000 octets, in thousandths of an octet."""

TALK = ServiceTerms(quota_ms=20_000)
DATA = ServiceTerms("data", "octet", "{tariff}-data", "10", quota_ms=100 * KB)
SMS = ServiceTerms("sms", "unit", "{tariff}-sms", "20", quota_ms=1_000)


class ScriptedSessions:
    """`ocs.services.credit_control.SessionControl`: notes what it is asked, answers what the script says."""

    def __init__(self, ending: Ending = Ending.FAILED) -> None:
        self.ending = ending
        self.meanwhile: Callable[[], object] = lambda: None
        self.ended: list[tuple[str, str]] = []
        """(session, why)."""
        self.asked: list[str] = []

    def end(self, session_id: str, handles: Mapping[str, str], why: str) -> Ending:
        self.ended.append((session_id, why))
        self.meanwhile()
        return self.ending

    def ask_again(self, session_id: str, handles: Mapping[str, str]) -> bool:
        self.asked.append(session_id)
        return True


def talk(used_s: float = 0, wants_s: float | None = None, **more: Any) -> ServiceUse:
    return ServiceUse("", TALK, int(used_s * 1000), _ms(wants_s), **more)


def data(used_kb: float = 0, wants_kb: float | None = None, key: str = "10", **more: Any) -> ServiceUse:
    wants = None if wants_kb is None else int(wants_kb * KB)
    return ServiceUse(key, DATA, int(used_kb * KB), wants, **more)


def sms(used: int = 0, wants: int | None = None, **more: Any) -> ServiceUse:
    return ServiceUse("20", SMS, used * 1000, None if wants is None else wants * 1000, **more)


class CreditLab(DoorLab):
    """A desk and one client (or the same client at several daemons).

    Prices: a cent a second of talk, a cent a kilobyte of data, 5 cents a message.
    """

    def __init__(self, desk: TestDesk, *, alone: bool = True) -> None:
        self.desk, self.alone = desk, alone
        self.calls = CallRepository(desk.engine)
        self.control = ScriptedSessions()
        self.taken: list[str] = []
        self.reads_away = True
        """Does a database that is away not answer reads either?"""
        self.sell("retail-data", "10$", "0:0.01/1000+1", "octet")
        self.sell("retail-sms", "20$", "0:0.05/1+1", "unit")
        self.credit = self.new_credit(desk.charging if alone else desk.new_life(alone=False))

    def sell(self, name: str, prefix: str, spec: str, unit: str = "second") -> None:
        """A tariff with one rate."""
        number = len(self.desk.rows(tables.tariff_versions)) + 1
        made = tariff([(prefix, name, spec)], name=name, version_id=number, currency="USD", unit=unit)
        self.desk.sell(made)

    def new_credit(self, charging: ChargeCalls) -> CreditControl:
        """The same client as another life, or another daemon, has it."""
        credit = CreditControl(
            CLIENT,
            charging,
            lapse_ms=LAPSE_MS,
            control=self.control,
            rehearse=Rehearsals(self.desk.engine),
            load_session=self._load_session,
            load_open=self.calls.open_snapshots,
            took=self.taken.append,
        )
        charging.attach(credit)
        return credit

    def other(self) -> CreditControl:
        """The client at one more daemon on the same database."""
        return self.new_credit(self.desk.new_life(alone=False))

    def restart(self) -> None:
        """The daemon is killed and another starts on what is stored."""
        self.desk.kill(self.credit._charging)
        charging = self.desk.new_life(alone=self.alone)
        recover_calls(self.calls.open_snapshots, [CLIENT], charging, self.desk.clock, self.desk.policy)
        self.credit = self.new_credit(charging)

    def restart_all(self) -> None:
        """Every daemon is killed, one starts."""
        for life in list(self.desk.lives):
            self.desk.kill(life)
        self.desk.lives.append(self.credit._charging)
        self.restart()

    def _load_session(self, name: str, session: str) -> Any:
        if self.desk.ledger.away is not None and self.reads_away:
            raise self.desk.ledger.away
        return self.calls.of_session(name, session)

    # --- what the client says ---

    def request(
        self, number: int, *uses: ServiceUse, session: str = "s", account: str = "ann", **more: Any
    ) -> CreditRequest:
        names: dict[str, Any] = {"origin": "4930", "destination": "49151", "currency": "USD"}
        facts = {"attributes": {"variable:account": account}, "at_ms": self.desk.clock.now_ms()}
        return CreditRequest(session, number, services=uses, **(names | facts | more))

    def initial(self, *uses: ServiceUse, number: int = 0, at: Any = None, **more: Any) -> CreditAnswer:
        uses = uses or (talk(wants_s=0),)
        return self.settled((at or self.credit).initial(self.request(number, *uses, **more)))

    def update(self, number: int, *uses: ServiceUse, at: Any = None, **more: Any) -> CreditAnswer:
        return self.settled((at or self.credit).update(self.request(number, *uses, **more)))

    def terminate(self, number: int, *uses: ServiceUse, at: Any = None, **more: Any) -> CreditAnswer:
        return self.settled((at or self.credit).terminate(self.request(number, *uses, **more)))

    def debit(self, *uses: ServiceUse, number: int = 0, at: Any = None, **more: Any) -> CreditAnswer:
        return self.settled((at or self.credit).debit(self.request(number, *uses, **more)))

    def refund(
        self, *uses: ServiceUse, number: int = 0, ticks: int | None = None, **more: Any
    ) -> CreditAnswer:
        return self.settled(self.credit.refund(self.request(number, *uses, **more), ticks))

    def top_up(self, number: int, amount: str) -> None:
        self.desk.top_up(number, amount)
        self.settled(None)

    def settled(self, answer: T) -> T:
        self.desk.settle()
        gevent.sleep(0)  # orders go out on their own
        return answer

    # --- after ---

    def sessions(self) -> list[Any]:
        """The meters in memory, oldest first."""
        return self.sessions_at(self.credit)

    def sessions_at(self, credit: CreditControl) -> list[Any]:
        """The same of one daemon."""
        found = [call.session for call in credit._charging.calls if call.session.switch == CLIENT]
        return sorted(found, key=lambda one: (one.offered_at_ms, one.call_id))

    def session(self) -> Any:
        (found,) = self.sessions()
        return found

    def charged(self, account_id: int) -> list[int]:
        """Quantities (thousandths) that an account was charged for and not given back."""
        with self.desk.engine.begin() as db:
            query = select(tables.charges).where(tables.charges.c.account_id == account_id)
            return sorted(int(row.duration_ms) for row in db.execute(query) if row.reversed_by is None)


def only(answer: CreditAnswer) -> ServiceGrant:
    """What is said of the one service."""
    (grant,) = answer.services
    return grant


def granted_s(answer: CreditAnswer) -> float:
    return only(answer).granted_ms / 1000


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)


def by_key(answer: CreditAnswer) -> dict[str, ServiceGrant]:
    """What is said of each service."""
    return {grant.use.key: grant for grant in answer.services}
