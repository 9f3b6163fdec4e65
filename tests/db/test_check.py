"""Does `ocs check` see every kind of damage? Each invariant is broken once, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine, text

from db.check import INVARIANTS, check
from db.committer import Committer
from db.engine import writing
from db.repositories.accounts import AccountRepository
from ocs.ledger.model import AccountKind, AddAllowance, Forfeit, Redeemed
from ocs.rating.model import Allowance
from ocs.services.vouchers import NewBatch
from tests.db.store_books import GIFT, broken, held_rows, redeem, settled_rows, write_vouchers
from tests.ledger.books import ALICE, BOB, NOW, SUPPLIER, hold, settle
from tests.ledger.pricers import FlatPricer

VOUCHER_USED_ONCE = (
    "a used voucher has one transfer, of its value, to the account that used it; others have none"
)

FORFEITED = (
    "what is forfeited went from the one account whose money expired to the house's for it, once a date"
)


@pytest.fixture
def busy(engine: Engine, committer: Committer) -> Engine:
    """Books with an open call, a settled one, a corrected one, included seconds, and a posting of nothing."""
    committer.submit(AddAllowance("g", ALICE, "gift", 20, Allowance(0, 0), NOW))
    taxed = FlatPricer(tax_percent=10)
    for name, seconds in (("done", 30), ("fixed", 20)):
        committer.submit(replace(hold(name, 30, pricer=taxed), writes=held_rows(name)))
        committer.submit(replace(settle(name, seconds, pricer=taxed), writes=settled_rows(name)))
    committer.submit(replace(settle("fixed", 10, pricer=taxed, correct=True), writes=settled_rows("fixed")))
    committer.submit(AddAllowance("g2", ALICE, "gift", 20, Allowance(0, 0), NOW))
    committer.submit(replace(hold("open", 30), writes=held_rows("open")))
    for name, worth in (("money", {"currency": "USD", "ticks": 50}), ("units", {"allowance": GIFT})):
        write_vouchers(engine, NewBatch(name, 2, **worth))
        redeemed = committer.submit(redeem(name, 1))
        assert isinstance(redeemed, Redeemed)
    _forfeit(engine, committer)
    with writing(engine) as connection:
        connection.execute(text(f"INSERT INTO postings VALUES ('start', 99, {BOB}, 'USD', 0, 0)"))
    return engine


def _forfeit(engine: Engine, committer: Committer) -> None:
    """One tick of bob's expires and goes to the house; his date is taken away again."""
    house_id = AccountRepository(engine).house_account(AccountKind.FORFEITED, "USD")
    for date, ticks in ((str(NOW), 1), ("NULL", 0)):
        with writing(engine) as connection:
            dated = f"UPDATE accounts SET credit_expires_at_ms = {date} WHERE account_id = {BOB}"
            connection.execute(text(dated))
        committer.submit(Forfeit(BOB, house_id, NOW, ticks, NOW))


def test_right_books_pass_and_every_invariant_has_looked_at_rows(busy: Engine) -> None:
    findings = list(check(busy))
    assert [finding for finding in findings if not finding.ok] == []
    assert len(findings) == len(INVARIANTS) + 1
    assert all(finding.rows > 0 for finding in findings)


@pytest.mark.parametrize(
    ("damage", "noticed"),
    [
        (
            "UPDATE postings SET ticks = ticks + 1 WHERE transfer_id = 'start' AND entry_no = 0",
            {"postings of a transfer sum to zero per currency", "a balance is the sum of its postings"},
        ),
        (
            f"UPDATE accounts SET currency = 'EUR' WHERE account_id = {BOB}",
            {"a posting is in the currency of its account"},
        ),
        (
            f"UPDATE accounts SET balance_ticks = balance_ticks + 1 WHERE account_id = {BOB}",
            {"a balance is the sum of its postings"},
        ),
        (
            f"UPDATE accounts SET held_ticks = held_ticks + 1 WHERE account_id = {BOB}",
            {"what an account holds is the sum of its open holds"},
        ),
        (
            f"UPDATE accounts SET open_calls = 2 WHERE account_id = {ALICE}",
            {"open calls of an account are the calls that hold on it"},
        ),
        (
            f"UPDATE accounts SET credit_limit_ticks = -1001 WHERE account_id = {BOB}",
            {"no account that pays is below its credit limit"},
        ),
        (
            "UPDATE allowances SET held = held - 1 WHERE held > 0",
            {"units held of an allowance are the draws of open holds"},
        ),
        (
            "UPDATE allowances SET remaining = remaining + 1 WHERE remaining = 0",
            {"units left of an allowance are the sum of its postings, and no fewer than are held"},
        ),
        (
            "UPDATE charges SET reversed_by = NULL",
            {
                "a leg has one live charge at most",
                "a live charge of a call has its record",
            },
        ),
        (
            "UPDATE charges SET shortfall_ticks = shortfall_ticks + 1 WHERE call_id = 'done'",
            {
                "a charge is what was collected plus the shortfall, and its transfer moved the former",
                "a record of a call that was let through matches its live charge",
            },
        ),
        (
            """DELETE FROM postings
               WHERE transfer_id IN (SELECT transfer_id FROM transfers WHERE kind = 'reverse')""",
            {"a transfer is turned around once at most, and exactly", "a balance is the sum of its postings"},
        ),
        (
            "DELETE FROM call_records WHERE call_id = 'done'",
            {
                "a live charge of a call has its record",
                "a closed call with legs that hold or pay has its records",
            },
        ),
        (
            "UPDATE call_records SET net_ticks = net_ticks + 1 WHERE call_id = 'done'",
            {"a record of a call that was let through matches its live charge"},
        ),
        (
            "UPDATE calls SET state = 'closed' WHERE call_id = 'open'",
            {"a closed call holds nothing", "a closed call with legs that hold or pay has its records"},
        ),
        (
            "UPDATE calls SET state = 'talking' WHERE call_id = 'done'",
            {"a call that talks has a hold"},
        ),
        (
            """UPDATE charges SET lines = '[{"kind": "usage", "text": "", "exact": "1/3"}]'
               WHERE call_id = 'done'""",
            {"the lines of a charge add up to it"},
        ),
        (
            "UPDATE holds SET account_id = 999 WHERE call_id = 'open'",
            {
                "the account of a hold is there",
                "what an account holds is the sum of its open holds",
                "open calls of an account are the calls that hold on it",
            },
        ),
        (
            "UPDATE postings SET account_id = 999 WHERE transfer_id = 'start' AND ticks = 0",
            {"the account of a posting is there"},
        ),
        (
            "DELETE FROM transfers WHERE transfer_id = 'start'",
            {"the transfer of a posting is there"},
        ),
        (
            "UPDATE charges SET account_id = 999 WHERE reversed_by IS NOT NULL",
            {"the account of a charge is there"},
        ),
        (
            "UPDATE charges SET transfer_id = 'none', collected_ticks = 0, net_ticks = 0, tax_ticks = 0, "
            "lines = '[]' WHERE reversed_by IS NOT NULL",
            {"the transfer of a charge is there"},
        ),
        (
            "UPDATE call_records SET account_id = 999 WHERE call_id = 'done'",
            {
                "the account of a record is there",
                "a record of a call that was let through matches its live charge",
            },
        ),
        (
            "UPDATE call_records SET tariff_version_id = 999 WHERE call_id = 'done'",
            {"the tariff version of a record is there"},
        ),
        (
            "UPDATE vouchers SET status = 'ready' WHERE transfer_id IS NOT NULL",
            {VOUCHER_USED_ONCE, "a transfer of a voucher has its voucher"},
        ),
        ("UPDATE vouchers SET status = 'used' WHERE serial = 2", {VOUCHER_USED_ONCE}),
        (f"UPDATE vouchers SET account_id = {BOB} WHERE status = 'used'", {VOUCHER_USED_ONCE}),
        ("UPDATE voucher_batches SET ticks = ticks + 1 WHERE ticks > 0", {VOUCHER_USED_ONCE}),
        ("UPDATE voucher_batches SET units = units + 1 WHERE units > 0", {VOUCHER_USED_ONCE}),
        ("UPDATE transfers SET key = 'voucher:99' WHERE key = 'voucher:1'", {VOUCHER_USED_ONCE}),
        (f"UPDATE transfers SET key = 'forfeit:{ALICE}:{NOW}' WHERE kind = 'forfeit'", {FORFEITED}),
        ("UPDATE accounts SET kind = 'revenue' WHERE kind = 'forfeited'", {FORFEITED}),
        ("UPDATE transfers SET kind = 'forfeit', key = 'forfeit:9' WHERE key = 'start'", {FORFEITED}),
        (
            f"UPDATE accounts SET credit_expires_at_ms = 1 WHERE account_id = {SUPPLIER}",
            {"money with a date belongs to those who pay"},
        ),
    ],
)
def test_damage_is_noticed_and_spelled_out(busy: Engine, damage: str, noticed: set[str]) -> None:
    with writing(busy) as connection:
        assert connection.execute(text(damage)).rowcount > 0
    found = broken(busy)
    assert {finding.invariant for finding in found} == noticed
    assert all(finding.rows > 0 and finding.detail for finding in found)
