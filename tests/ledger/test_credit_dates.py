"""How long is prepaid money good for, and what becomes of it then? Cases on both sides of each edge."""

from __future__ import annotations

import pytest

from ocs.errors import CallerError, Conflict
from ocs.ledger.batch import Batch
from ocs.ledger.credit import available, good_until
from ocs.ledger.decide import decide
from ocs.ledger.model import (
    Account,
    AccountKind,
    Forfeit,
    Granted,
    Post,
    Posted,
    Redeemed,
    Refused,
    Settled,
    Unmoved,
    Voucher,
    VoucherStatus,
)
from ocs.refusals import Refusal
from tests.db.store_books import redeem
from tests.ledger.books import ALICE, CASH, DAY, NOW, books, give, hold, settle
from tests.ledger.pricers import FlatPricer

FORFEITED = 20
EXPIRED = NOW + DAY
SHORT = Refused(Refusal.INSUFFICIENT_FUNDS, ALICE)


@pytest.mark.parametrize(
    ("balance", "held", "limit", "expires", "left"),
    [
        # balance, held by calls, credit limit, its date, what may be set aside now
        (100, 0, 0, None, 100),
        (100, 30, 0, None, 70),
        (100, 0, 0, NOW + 1, 100),
        (100, 0, 0, NOW, 0),
        (100, 0, 0, NOW - 1, 0),
        (100, 30, 0, NOW, 0),  # what calls hold stays theirs, and no more
        (100, 100, 0, NOW, 0),
        (100, 0, 50, NOW + 1, 150),
        (100, 0, 50, NOW, 0),  # what is held on credit would be paid from the expired money
        (1, 0, 50, NOW, 0),
        (0, 0, 50, NOW, 50),  # nothing has expired
        (-20, 0, 50, NOW, 30),  # an account that owes goes on with its credit
        (-20, 10, 50, NOW, 20),
        (100, 120, 50, NOW, 0),
        (100, 170, 50, NOW, -20),  # calls hold more than there is: a correction took it
        (-60, 0, 50, NOW, -10),  # a correction took it below
        (100, 0, None, NOW, None),  # the house has no limit
    ],
)
def test_expired_money_and_the_credit_behind_it_cannot_be_set_aside(
    balance: int, held: int, limit: int | None, expires: int | None, left: int | None
) -> None:
    assert available(balance, held, limit, expires, NOW) == left


@pytest.mark.parametrize(
    ("balance", "expires", "valid", "until"),
    [
        # before the top-up: balance and date; for how long it is good → the date after it
        (0, None, None, None),
        (0, None, 30 * DAY, NOW + 30 * DAY),
        (1, None, 30 * DAY, None),  # money that is good for ever stays so
        (-5, None, 30 * DAY, NOW + 30 * DAY),
        (5, NOW + 10 * DAY, None, NOW + 10 * DAY),
        (5, NOW + 10 * DAY, 30 * DAY, NOW + 30 * DAY),
        (5, NOW + 30 * DAY + 1, 30 * DAY, NOW + 30 * DAY + 1),  # never earlier
        (5, NOW - DAY, 30 * DAY, NOW + 30 * DAY),  # what expired comes to life again
        (5, NOW - DAY, None, NOW - DAY),
    ],
)
def test_a_top_up_extends_the_date_and_never_shortens_it(
    balance: int, expires: int | None, valid: int | None, until: int | None
) -> None:
    assert good_until(balance, expires, NOW, valid) == until
    batch = books(balance_ticks=balance, credit_limit_ticks=10, credit_expires_at_ms=expires)
    decide(batch, top_up(100, valid))
    assert batch.accounts[ALICE].credit_expires_at_ms == until
    assert batch.redated_accounts == ({ALICE} if until != expires else set())


def top_up(ticks: int, valid_ms: int | None, *, key: str = "paid", at_ms: int = NOW) -> Post:
    return Post(key, "top_up", ((ALICE, ticks), (CASH, -ticks)), at_ms, credit_valid_ms=valid_ms)


def test_a_repeated_top_up_extends_once_and_another_period_is_another_purpose() -> None:
    batch = books(credit_expires_at_ms=NOW)
    first = decide(batch, top_up(100, 10 * DAY))
    assert decide(batch, top_up(100, 10 * DAY, at_ms=NOW + DAY)) == first
    alice = batch.accounts[ALICE]
    assert (alice.balance_ticks, alice.credit_expires_at_ms) == (100, NOW + 10 * DAY)
    with pytest.raises(Conflict):
        decide(batch, top_up(100, 20 * DAY))
    with pytest.raises(Conflict):
        decide(batch, top_up(100, None))


@pytest.mark.parametrize(("valid", "until"), [(None, NOW), (30 * DAY, NOW + 30 * DAY)])
def test_a_voucher_of_money_extends_the_date_if_it_says_so(valid: int | None, until: int) -> None:
    batch = books(balance_ticks=7, credit_expires_at_ms=NOW)
    batch.vouchers["ten-1"] = Voucher(1, VoucherStatus.READY, "USD", 10, credit_valid_ms=valid)
    outcome = decide(batch, redeem("ten", 1))
    assert isinstance(outcome, Redeemed)
    assert decide(batch, redeem("ten", 1, at_ms=NOW + DAY)) == outcome
    assert (outcome.balance_ticks, batch.accounts[ALICE].credit_expires_at_ms) == (17, until)


# --- calls --------------------------------------------------------------------------------------


def expiring(**alice: int) -> Batch:
    return books(**{"balance_ticks": 1_000, "credit_expires_at_ms": EXPIRED, **alice})


def test_a_new_call_is_refused_from_the_very_millisecond() -> None:
    batch = expiring()
    assert isinstance(decide(batch, hold("a", 10, at_ms=EXPIRED - 1)), Granted)
    assert decide(batch, hold("b", 10, at_ms=EXPIRED)) == SHORT
    assert batch.accounts[ALICE].held_ticks == 100


@pytest.mark.parametrize("limit", [0, 5_000])
def test_a_running_call_keeps_what_it_has_and_gets_no_more(limit: int) -> None:
    batch = expiring(credit_limit_ticks=limit)
    decide(batch, hold("c", 30, at_ms=EXPIRED - 1))
    more = decide(batch, hold("c", 60, at_ms=EXPIRED))
    assert isinstance(more, Granted)
    assert (more.granted_ms, more.final, more.limited_by, more.available_ticks) == (30_000, True, ALICE, 0)
    assert batch.accounts[ALICE].held_ticks == 300
    settled = decide(batch, settle("c", 30, at_ms=EXPIRED + 30_000))
    assert isinstance(settled, Settled)
    assert (settled.legs[0].collected_ticks, settled.legs[0].shortfall_ticks) == (300, 0)


def test_a_call_that_runs_past_what_it_held_is_charged_whole_from_expired_money() -> None:
    """The time was talked, and the money for it is there."""
    batch = expiring()
    decide(batch, hold("c", 30, at_ms=EXPIRED - 1))
    settled = decide(batch, settle("c", 32, at_ms=EXPIRED + 32_000))
    assert isinstance(settled, Settled)
    assert settled.legs[0].shortfall_ticks == 0
    assert batch.accounts[ALICE].balance_ticks == 680


def test_what_a_call_gives_back_after_the_date_has_expired_too() -> None:
    batch = expiring()
    decide(batch, hold("c", 30, at_ms=EXPIRED - 1))
    cheaper = decide(batch, hold("c", 20, key="answered", shrink=True, at_ms=EXPIRED))
    assert isinstance(cheaper, Granted)
    assert (cheaper.granted_ms, cheaper.available_ticks) == (20_000, 0)
    again = decide(batch, hold("c", 30, key="more", at_ms=EXPIRED))
    assert isinstance(again, Granted)
    assert (again.granted_ms, again.final) == (20_000, True)


def test_units_and_free_calls_need_no_money_and_go_on() -> None:
    batch = expiring()
    give(batch, 60)
    with_units = decide(batch, hold("c", 60, at_ms=EXPIRED))
    assert isinstance(with_units, Granted)
    assert (with_units.granted_ms, with_units.holds[0].ticks) == (60_000, 0)
    free = decide(batch, hold("d", 60, pricer=FlatPricer(0), at_ms=EXPIRED))
    assert isinstance(free, Granted)
    assert (free.granted_ms, free.final) == (60_000, False)


def test_a_top_up_with_days_lets_a_final_call_go_on() -> None:
    batch = expiring()
    decide(batch, hold("c", 30, at_ms=EXPIRED - 1))
    decide(batch, hold("c", 60, at_ms=EXPIRED))
    decide(batch, top_up(1, DAY, at_ms=EXPIRED + 1))
    more = decide(batch, hold("c", 60, key="again", at_ms=EXPIRED + 2))
    assert isinstance(more, Granted)
    assert (more.granted_ms, more.final) == (60_000, False)


def test_an_operator_may_take_expired_money_off_but_not_what_calls_hold() -> None:
    batch = expiring()
    decide(batch, hold("c", 30, at_ms=EXPIRED - 1))

    def adjust(ticks: int) -> Post:
        return Post(f"k{ticks}", "adjust", ((ALICE, -ticks), (CASH, ticks)), EXPIRED)

    assert decide(batch, adjust(701)) == SHORT
    assert isinstance(decide(batch, adjust(700)), Posted)


# --- forfeiting ---------------------------------------------------------------------------------


def forfeitable(**alice: int) -> Batch:
    batch = expiring(**alice)
    batch.accounts[FORFEITED] = Account(
        FORFEITED, "house:forfeited:USD", AccountKind.FORFEITED, "USD", credit_limit_ticks=None
    )
    return batch


def forfeit(ticks: int = 1_000, *, date_ms: int = EXPIRED, at_ms: int = EXPIRED + DAY) -> Forfeit:
    return Forfeit(ALICE, FORFEITED, date_ms, ticks, at_ms, "housekeeping")


def test_what_expired_goes_to_the_house_once() -> None:
    batch = forfeitable()
    first = decide(batch, forfeit())
    assert isinstance(first, Posted)
    assert first.balances == {ALICE: 0, FORFEITED: 1_000}
    decide(batch, top_up(50, None, at_ms=EXPIRED + DAY))
    assert decide(batch, forfeit(50, at_ms=EXPIRED + 2 * DAY)) == first
    assert batch.accounts[ALICE].balance_ticks == 50
    assert [(t.kind, t.key) for t in batch.transfers if t.kind == "forfeit"] == [
        ("forfeit", f"forfeit:{ALICE}:{EXPIRED}")
    ]


@pytest.mark.parametrize(
    ("alice", "command"),
    [
        ({"credit_expires_at_ms": EXPIRED + 1}, forfeit()),  # topped up meanwhile
        ({}, forfeit(at_ms=EXPIRED - 1)),
        ({"balance_ticks": 0}, forfeit()),
        ({"balance_ticks": -5, "credit_limit_ticks": 9}, forfeit()),
        ({"held_ticks": 1_000}, forfeit()),
        ({}, forfeit(0)),
    ],
)
def test_nothing_is_taken_that_has_not_expired_or_is_not_there(
    alice: dict[str, int], command: Forfeit
) -> None:
    batch = forfeitable(**alice)
    outcome = decide(batch, command)
    assert outcome == Unmoved()
    assert not batch.transfers
    assert not batch.new_keys  # it may be asked again


@pytest.mark.parametrize(("held", "at_most", "taken"), [(0, 999, 999), (300, 1_000, 700), (300, 600, 600)])
def test_no_more_is_taken_than_was_seen_and_no_call_holds(held: int, at_most: int, taken: int) -> None:
    batch = forfeitable(held_ticks=held)
    decide(batch, forfeit(at_most))
    assert batch.accounts[ALICE].balance_ticks == 1_000 - taken


def test_what_is_forfeited_goes_nowhere_else() -> None:
    with pytest.raises(CallerError, match="does not go to cash"):
        decide(forfeitable(), Forfeit(ALICE, CASH, EXPIRED, 1, EXPIRED))
    assert decide(expiring(), forfeit()) == Refused(Refusal.ACCOUNT_UNKNOWN, FORFEITED)
