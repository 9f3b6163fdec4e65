"""A Diameter door on a real ledger: what a client asks, what it is answered, and what that cost.

The client "ims" is made of settings, as the daemon makes it. A second of talk is a cent to every number; data
(octets, a cent a kilobyte) and messages (5 cents) have tariffs of their own. Subscribers pay from the account
that bears their number or name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import gevent

from db.rehearse import Rehearsals
from db.repositories.calls import CallRepository
from ocs.runtime.diameter_doors import DiameterDoors
from ocs.runtime.metrics import Metrics
from ocs.runtime.settings.diameter import DiameterSettings
from ocs.services.charge_calls import ChargeCalls
from ocs.services.identify import Rule
from switch_adapters.diameter import names, wire
from switch_adapters.diameter.codes import CcRequestType, Command, FinalUnitAction
from switch_adapters.diameter.connection import Peer
from switch_adapters.diameter.names import Name
from tests.rating.make import tariff
from tests.services.desk import SPEC, TestDesk, digits
from tests.services.door_lab import DoorLab

PREFIXES = ("1", "44", "49")
RULES = (Rule("subscription.number"), Rule("subscription.user"))
CONTEXT = "32260@3gpp.org"
SERVICES: list[dict[str, Any]] = [
    {
        "name": "data", "rating_groups": [10, 11], "unit": "octet", "tariff": "{tariff}-data",
        "destination": "{rating_group}", "quota": 100_000,
    },
    {"name": "sms", "rating_groups": [20], "unit": "unit", "tariff": "{tariff}-sms", "destination": "sms"},
    {"name": "sms", "contexts": ["*32274@3gpp.org"], "unit": "unit", "tariff": "{tariff}-sms",
     "destination": "sms"},
    {"name": "paid", "rating_groups": [30], "unit": "money", "tariff": "{tariff}-money",
     "destination": "any"},
    {"name": "portal", "rating_groups": [40], "free": True},
]  # fmt: skip
KEYED = (
    # tariff, unit, keys, rate
    ("retail-data", "octet", ("10", "11"), "0:0.01/1000+1"),
    ("retail-sms", "unit", ("sms",), "0:0.05/1+1"),
    ("retail-money", "money", ("any",), "0:0.000001/1+1"),
)


def new_desk(path: Path, blank: Path | None = None) -> TestDesk:
    """A desk in `path`; blank: a migrated database to begin with."""
    desk = TestDesk(
        path, SPEC, blank=blank, destinations=[(prefix, prefix) for prefix in PREFIXES], payer_rules=RULES,
        normalise=digits,
    )  # fmt: skip
    for number, (name, unit, keys, spec) in enumerate(KEYED, start=2):
        rates = [(f"{key}$", key, spec) for key in keys]
        desk.sell(tariff(rates, name=name, version_id=number, currency="USD", unit=unit))
    return desk


class DiameterLab(DoorLab):
    """One client and one daemon that it asks. Further daemons: `DiameterLab(desk, alone=False)` for each."""

    def __init__(
        self, desk: TestDesk, *, alone: bool = True, services: Iterable[Mapping[str, Any]] = SERVICES,
        **client: Any,
    ) -> None:  # fmt: skip
        self.desk, self.alone = desk, alone
        wanted = {"name": "ims", "realms": ["lab.test"], "currency": "USD", "validity_s": 600, **client}
        self.settings = DiameterSettings.model_validate(
            {
                "origin_host": "ocs.lab.test", "origin_realm": "lab.test", "listen": ["127.0.0.1:0"],
                "client": [wanted], "service": list(services),
            }
        )  # fmt: skip
        self.calls = CallRepository(desk.engine)
        self._ids = count(1)
        self.start(desk.charging if alone else desk.new_life(alone=False))

    def start(self, charging: ChargeCalls) -> None:
        """The daemon as after its start: what doors remember is gone."""
        self.charging = charging
        self.metrics = Metrics()
        self.taken: list[str] = []
        self.doors = DiameterDoors(
            self.settings,
            charging,
            self.desk.clock,
            self.metrics,
            load_session=self._load_session,
            load_open=self.calls.open_snapshots,
            load_call=self.calls.snapshot,
            took=self.taken.append,
            rehearse=Rehearsals(self.desk.engine),
        )

    def restart(self) -> None:
        """The daemon is killed and another starts; it meets sessions as their requests come."""
        self.desk.kill(self.charging)
        self.start(self.desk.new_life(alone=False))

    def _load_session(self, name: str, session: str) -> Any:
        if self.desk.ledger.away is not None:
            raise self.desk.ledger.away
        return self.calls.of_session(name, session)

    # --- what the client asks ---

    def bring(self, raw: bytes, peer_host: str = "kam.lab.test") -> bytes:
        """A message comes in; the answer, once nothing moves any more."""
        peer = Peer(peer_host, "lab.test", "127.0.0.1", 3868, "ims", tls=False, initiated=False)
        job = gevent.spawn(self.doors.door.handle, wire.parse(raw), peer)
        with gevent.Timeout(20):
            job.join()
            self.desk.settle()
        answer: bytes = job.get()
        return answer

    def ask(self, raw: bytes, **where: Any) -> str:
        """As `bring`; the answer in short (`told`)."""
        return told(self.bring(raw, **where))

    def ccr(
        self, kind: int, number: int, *parts: bytes, session: str = "s;1", payer: str | None = "+15550100",
        called: str = "tel:+4930123", context: str = CONTEXT, role: int = 0, retransmitted: bool = False,
        end_to_end: int | None = None,
    ) -> bytes:  # fmt: skip
        """A Credit-Control-Request of a subscriber by number."""
        ids = next(self._ids)
        who = () if payer is None else (subscription(0 if payer.startswith("+") else 2, payer),)
        ims = wire.group_avp(
            names.IMS_INFORMATION,
            wire.i32_avp(names.ROLE_OF_NODE, role),
            wire.text_avp(names.USER_SESSION_ID, f"call-{session}"),
            wire.text_avp(names.CALLING_PARTY_ADDRESS, "tel:+15550100"),
            wire.text_avp(names.CALLED_PARTY_ADDRESS, called),
        )
        return wire.request(
            Command.CREDIT_CONTROL, 4, ids, ids if end_to_end is None else end_to_end,
            wire.text_avp(names.SESSION_ID, session),
            wire.text_avp(names.ORIGIN_HOST, "kam.lab.test"),
            wire.text_avp(names.ORIGIN_REALM, "lab.test"),
            wire.text_avp(names.DESTINATION_REALM, "lab.test"),
            wire.u32_avp(names.AUTH_APPLICATION_ID, 4),
            wire.text_avp(names.SERVICE_CONTEXT_ID, context),
            wire.i32_avp(names.CC_REQUEST_TYPE, kind),
            wire.u32_avp(names.CC_REQUEST_NUMBER, number),
            *who,
            wire.group_avp(names.SERVICE_INFORMATION, ims),
            *parts,
            retransmitted=retransmitted,
        )  # fmt: skip

    def initial(self, *parts: bytes, number: int = 0, **how: Any) -> str:
        return self.ask(self.ccr(CcRequestType.INITIAL, number, *parts, **how))

    def update(self, number: int, *parts: bytes, **how: Any) -> str:
        return self.ask(self.ccr(CcRequestType.UPDATE, number, *parts, **how))

    def terminate(self, number: int, *parts: bytes, **how: Any) -> str:
        return self.ask(self.ccr(CcRequestType.TERMINATION, number, *parts, **how))

    def event(self, action: int, *parts: bytes, number: int = 0, **how: Any) -> str:
        wanted = wire.i32_avp(names.REQUESTED_ACTION, action)
        return self.ask(self.ccr(CcRequestType.EVENT, number, wanted, *parts, **how))


# --- AVPs of requests --------------------------------------------------------------------------------


def subscription(kind: int, data: str) -> bytes:
    return wire.group_avp(
        names.SUBSCRIPTION_ID,
        wire.i32_avp(names.SUBSCRIPTION_ID_TYPE, kind),
        wire.text_avp(names.SUBSCRIPTION_ID_DATA, data),
    )


def seconds(number: int) -> bytes:
    return wire.u32_avp(names.CC_TIME, number)


def octets(number: int) -> bytes:
    return wire.u64_avp(names.CC_TOTAL_OCTETS, number)


def pieces(number: int) -> bytes:
    return wire.u64_avp(names.CC_SERVICE_SPECIFIC_UNITS, number)


def money(digits: int, exponent: int = 0, currency: int | None = 840) -> bytes:
    value = wire.group_avp(
        names.UNIT_VALUE, wire.i64_avp(names.VALUE_DIGITS, digits), wire.i32_avp(names.EXPONENT, exponent)
    )
    code = () if currency is None else (wire.u32_avp(names.CURRENCY_CODE, currency),)
    return wire.group_avp(names.CC_MONEY, value, *code)


def wants(*content: bytes) -> bytes:
    return wire.group_avp(names.REQUESTED_SERVICE_UNIT, *content)


def used(*content: bytes) -> bytes:
    return wire.group_avp(names.USED_SERVICE_UNIT, *content)


def service(rating_group: int | None, *parts: bytes, identifiers: Iterable[int] = ()) -> bytes:
    group = () if rating_group is None else (wire.u32_avp(names.RATING_GROUP, rating_group),)
    named = (wire.u32_avp(names.SERVICE_IDENTIFIER, number) for number in identifiers)
    return wire.group_avp(names.MULTIPLE_SERVICES_CREDIT_CONTROL, *parts, *named, *group)


# --- answers -----------------------------------------------------------------------------------------


def told(raw: bytes) -> str:
    """An answer in short: "2001 100.1000:20s 10:50000o,final 20:4012"; what stands at the top level has no
    name; E: with the E flag. Every grant must carry its Validity-Time."""
    answer = wire.parse(raw)
    assert not answer.is_request
    words = [f"{answer.u32(names.RESULT_CODE)}{'E' if answer.is_error else ''}"]
    if top := _said(answer):
        words.append(top)
    for group in answer.groups(names.MULTIPLE_SERVICES_CREDIT_CONTROL):
        sids = ",".join(map(str, group.u32s(names.SERVICE_IDENTIFIER)))
        rating_group = group.u32(names.RATING_GROUP)
        name = f"{'' if rating_group is None else rating_group}{'.' + sids if sids else ''}"
        result = group.u32(names.RESULT_CODE)
        said = _said(group)
        words.append(f"{name}:{said if result == 2001 else result}")
    balance = answer.i32(names.CHECK_BALANCE_RESULT)
    if balance is not None:
        words.append(("enough", "no_credit")[balance])
    if (cost := answer.group(names.COST_INFORMATION)) is not None:
        words.append(f"cost={_amount(cost)}")
    return " ".join(words)


def _said(level: wire.Avps) -> str:
    words = []
    granted = level.group(names.GRANTED_SERVICE_UNIT)
    if granted is not None:
        assert level.has(names.VALIDITY_TIME)
        units: list[tuple[Name, str]] = [
            (names.CC_TIME, "s"), (names.CC_TOTAL_OCTETS, "o"), (names.CC_SERVICE_SPECIFIC_UNITS, "u"),
        ]  # fmt: skip
        for name, letter in units:
            if granted.has(name):
                words.append(f"{granted.u32(name) if letter == 's' else granted.u64(name)}{letter}")
        if (amount := granted.group(names.CC_MONEY)) is not None:
            words.append(_amount(amount))
    elif level.has(names.VALIDITY_TIME):
        words.append("wait")
    final = level.group(names.FINAL_UNIT_INDICATION)
    if final is not None:
        action = FinalUnitAction(final.i32(names.FINAL_UNIT_ACTION) or 0)
        words.append("final" if action is FinalUnitAction.TERMINATE else action.name.lower())
    for name in (names.TIME_QUOTA_THRESHOLD, names.VOLUME_QUOTA_THRESHOLD, names.UNIT_QUOTA_THRESHOLD):
        if level.has(name):
            words.append(f"threshold={level.u32(name)}")
    pool = level.group(names.G_S_U_POOL_REFERENCE)
    if pool is not None:
        words.append(f"pool{pool.u32(names.G_S_U_POOL_IDENTIFIER)}x{_value(pool)}")
    return ",".join(words)


def _amount(level: wire.Avps) -> str:
    return f"{_value(level)}/{level.u32(names.CURRENCY_CODE)}"


def _value(level: wire.Avps) -> str:
    value = level.group(names.UNIT_VALUE)
    assert value is not None
    return f"{value.i64(names.VALUE_DIGITS)}e{value.i32(names.EXPONENT) or 0}"
