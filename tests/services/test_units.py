"""Sessions of data and other services: priced by the service's tariff, in its unit, by key.

A gigabyte (10^9 octets) costs 1.00 USD, charged by the kilobyte: 1,000 octets are one tick of 0.000001.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from db import tables
from db.check import check
from db.repositories.calls import CallRepository
from ocs.ledger.model import AddAllowance
from ocs.rating.model import Allowance
from ocs.refusals import Refusal
from ocs.services.calls import ActiveCall
from ocs.services.price_legs import tariff_of
from ocs.sessions import events as ev
from ocs.sessions.events import Mode, Offered, Reach, Used
from ocs.sessions.session import from_row
from tests.rating.make import tariff
from tests.services.desk import SPEC, TestDesk

DATA = "0:1/1000000000+1000"
KB = 1_000_000
"""A thousand octets, in thousandths."""


@pytest.fixture
def desk(blank: Path, tmp_path: Path) -> Iterator[TestDesk]:
    made = TestDesk(tmp_path, SPEC, blank=blank)
    sold = {
        "retail-data": ("10$", "Internet", DATA),
        "wholesale-data": ("", "All", "0:0.5/1000000000+1000"),
    }
    for number, (name, rate) in enumerate(sold.items(), start=2):
        made.sell(tariff([rate], name=name, version_id=number, currency="USD", unit="octet"))
    yield made
    made.close()


def offer(desk: TestDesk, account: str = "ann", **more: Any) -> Offered:
    event = Offered(
        desk.clock.now_ms(),
        Mode.AUTHORISE,
        "4930",
        "10",
        {"variable:account": account},
        reach=Reach(warnable=False, grace_ms=60_000, metered=True),
        unit="octet",
        service="data",
        tariff="{tariff}-data",
        session="scscf;1;2",
        fixed_destination=True,
        first_ms=5_000 * KB,
    )
    return replace(event, **more)


def call_of(desk: TestDesk, channel: str) -> ActiveCall:
    call = desk.charging.calls.find("fs1", channel)
    assert call is not None
    return call


def test_octets_are_held_and_charged_by_the_services_tariff(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00", max_call_s=1)  # a bound on calls, and data is none
    desk.tell("s/10", offer(desk))
    session = call_of(desk, "s/10").session
    assert (session.granted_ms, session.destination, session.unit) == (5_000 * KB, "10", "octet")
    (leg,) = session.legs
    assert (leg.tariff, leg.tariff_version_id, leg.prefix) == ("retail-data", 2, "10")
    assert desk.money(ann) == (1_000_000, 5_000)
    desk.tell("s/10", Used(desk.clock.now_ms(), 1, 4_000 * KB + 1, last=True, cause="LOGOUT"))
    assert desk.money(ann) == (1_000_000 - 4_001, 0)
    (record,) = desk.rows(tables.call_records)
    assert (record.unit, record.service, record.duration_ms, record.billed_s) == (
        "octet", "data", 4_000 * KB + 1, 4_001_000,
    )  # fmt: skip
    (charge,) = desk.rows(tables.charges)
    assert charge.lines[0]["text"] == "Internet: 4001 × 1000 octets at 1 USD per 1000000000 octets"
    assert [finding for finding in check(desk.engine) if not finding.ok] == []


def test_the_parts_of_a_session_are_found_together_and_a_plain_call_is_none(desk: TestDesk) -> None:
    desk.customer("ann", "1.00")
    desk.tell("s/10", offer(desk))
    desk.wait(1)
    desk.tell("s/a", offer(desk))
    desk.tell("other", offer(desk, session="another"))
    desk.offer("plain", "ann")
    desk.tell("s/10", Used(desk.clock.now_ms(), 1, KB, last=True))
    parts = [from_row(row) for row in CallRepository(desk.engine).of_session("fs1", "scscf;1;2")]
    assert [(part.channel, part.state.value) for part in parts] == [("s/10", "closed"), ("s/a", "metering")]
    assert [row.session for row in desk.rows(tables.calls) if row.channel == "plain"] == [None]


def test_a_call_and_its_record_are_counted_in_seconds(desk: TestDesk) -> None:
    desk.customer("ann", "1.00")
    desk.offer("a", "ann")
    desk.tell("a", ev.Answered(desk.clock.now_ms()))
    desk.tell("a", ev.Ended(desk.clock.now_ms(), 7_000, "NORMAL_CLEARING"))
    (record,) = desk.rows(tables.call_records)
    assert (record.unit, record.service, record.billed_s, record.net_ticks) == ("second", "", 7, 70_000)


@pytest.mark.parametrize(
    ("event", "counts", "asked"),
    [
        ({"tariff": "{tariff}"}, "second", "octet"),
        ({"unit": "unit"}, "octet", "unit"),
        ({"unit": "second"}, "octet", "second"),
    ],
)
def test_a_tariff_that_counts_something_else_is_no_rate_and_said_aloud(
    desk: TestDesk, event: dict[str, str], counts: str, asked: str
) -> None:
    desk.customer("ann", "1.00")
    with capture_logs() as logs:
        desk.tell("s/10", offer(desk, **event))
    (record,) = desk.rows(tables.call_records)
    assert (record.refusal, record.unit, record.service) == (Refusal.NO_RATE, asked, "data")
    told = [(line["counts"], line["asked"]) for line in logs if line["event"] == "tariff_of_another_unit"]
    assert told == [(counts, asked)]


@pytest.mark.parametrize("event", [{"destination": "101"}, {"tariff": "{tariff}-sms"}, {"tariff": "none"}])
def test_a_key_or_a_tariff_that_is_not_there_is_no_rate(desk: TestDesk, event: dict[str, str]) -> None:
    desk.customer("ann", "1.00")
    with capture_logs() as logs:
        desk.tell("s/10", offer(desk, **event))
    (record,) = desk.rows(tables.call_records)
    assert record.refusal == Refusal.NO_RATE
    assert "tariff_of_another_unit" not in {line["event"] for line in logs}


def test_everybody_above_pays_by_a_tariff_of_the_same_template(desk: TestDesk) -> None:
    big = desk.account("big", "reseller", tariff="wholesale", credit_limit_ticks=1_000_000)
    ann = desk.customer("ann", "1.00", parent_id=big)
    desk.tell("s/10", offer(desk))
    legs = call_of(desk, "s/10").session.legs
    assert [(leg.account_code, leg.tariff) for leg in legs] == [
        ("ann", "retail-data"), ("big", "wholesale-data"),
    ]  # fmt: skip
    assert (desk.money(ann)[1], desk.money(big)[1]) == (5_000, 2_500)


def test_a_service_may_have_one_tariff_for_all(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00", tariff=None)
    desk.tell("s/7", offer(desk, tariff="wholesale-data", destination="7"))
    assert desk.money(ann)[1] == 2_500
    desk.tell("s/8", offer(desk))
    assert call_of(desk, "s/8").session.refusal is Refusal.NO_RATE  # its own, and it has none


def test_a_key_need_not_be_a_number(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00")
    desk.tell("s/apn", offer(desk, tariff="wholesale-data", destination="internet.example"))
    assert call_of(desk, "s/apn").session.destination == "internet.example"
    assert desk.money(ann)[1] == 2_500
    desk.tell("call", offer(desk, tariff="wholesale-data", destination="+49x", fixed_destination=False))
    assert call_of(desk, "call").session.refusal is Refusal.BAD_NUMBER


def test_the_name_of_a_tariff_is_made_of_the_accounts_own(desk: TestDesk) -> None:
    desk.customer("ann", "0")
    view = desk._view("ann")
    assert view is not None
    templates = ("{tariff}", "{tariff}-data", "flat")
    assert [tariff_of(view, template) for template in templates] == ["retail", "retail-data", "flat"]
    bare = replace(view, tariff=None)
    assert [tariff_of(bare, template) for template in templates] == ["", "", "flat"]


def test_only_included_octets_are_drawn(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00")
    for name, unit in (("minutes", "second"), ("data", "octet")):
        desk.ledger.submit(
            AddAllowance(name, ann, name, 3_000_000, Allowance(0, 0, prefixes=("10$",), unit=unit), 0)
        )
    desk.tell("s/10", offer(desk))
    assert desk.money(ann)[1] == 2_000
    desk.tell("s/10", Used(desk.clock.now_ms(), 1, 4_000 * KB, last=True))
    left = {row.name: (row.unit, row.remaining, row.held) for row in desk.rows(tables.allowances)}
    assert left == {"minutes": ("second", 3_000_000, 0), "data": ("octet", 0, 0)}
    assert desk.money(ann) == (1_000_000 - 1_000, 0)
    assert [finding for finding in check(desk.engine) if not finding.ok] == []


def test_a_resumed_session_is_priced_by_its_own_version_and_unit(desk: TestDesk) -> None:
    ann = desk.customer("ann", "1.00")
    desk.tell("s/10", offer(desk))
    (row,) = CallRepository(desk.engine).of_session("fs1", "scscf;1;2")
    desk.kill(desk.charging)
    desk.tariffs.put(
        tariff([("10$", "dearer", "0:9/1000000000+1000")], name="retail-data", version_id=4, currency="USD",
               unit="octet", effective_from_ms=1)
    )  # fmt: skip
    with desk.engine.begin() as db:
        db.execute(update(tables.accounts).values(tariff="moved-on"))
    desk.new_life().resume(from_row(row))
    desk.tell("s/10", Used(desk.clock.now_ms(), 1, 4_000 * KB, wants_ms=9_000 * KB))
    assert desk.money(ann)[1] == 13_000
    desk.tell("s/10", Used(desk.clock.now_ms(), 2, 1_000 * KB, last=True))
    assert desk.money(ann) == (1_000_000 - 5_000, 0)
