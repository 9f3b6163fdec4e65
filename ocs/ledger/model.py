"""What does the ledger know and do? Accounts, commands and outcomes, as values.

What is available is derived (`ocs.ledger.credit`), never stored. A hold covers the price of the total time
granted so far. Commands carry an idempotency key made of what caused them; the second
arrival gets the first answer. All times are UTC milliseconds, all amounts ticks of the account's currency.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ocs.ledger.credit import available, uncommitted
from ocs.rating.model import Allowance, Charge, Draw, Pricer
from ocs.refusals import Refusal, VoucherRefusal
from ocs.values import quick_value


class AccountKind(StrEnum):
    """Where money stands. Customer, reseller and partner pay us; suppliers we pay; the rest is the house."""

    CUSTOMER = "customer"
    RESELLER = "reseller"
    PARTNER = "partner"
    SUPPLIER = "supplier"
    REVENUE = "revenue"
    COST = "cost"
    TAX = "tax"
    CASH = "cash"
    FORFEITED = "forfeited"
    """Prepaid money that its owner let expire."""


class AccountStatus(StrEnum):
    """Blocked: no new call and no extension; what runs is cut at the end of what it holds."""

    ACTIVE = "active"
    BLOCKED = "blocked"


@dataclass(slots=True)
class Account:
    """One account as a batch sees it under lock. Mutable: the batch works on it, then writes it back.

    credit_limit_ticks None: no limit (house accounts). spent_* count settled usage of one local day of the
    account's zone (`spent_day` = days since 1970-01-01 there). credit_expires_at_ms None: its money is good
    for ever.
    """

    account_id: int
    code: str
    kind: AccountKind
    currency: str
    balance_ticks: int = 0
    held_ticks: int = 0
    credit_limit_ticks: int | None = 0
    status: AccountStatus = AccountStatus.ACTIVE
    open_calls: int = 0
    max_calls: int | None = None
    daily_limit_ticks: int | None = None
    timezone: str = "UTC"
    spent_day: int = 0
    spent_ticks: int = 0
    credit_expires_at_ms: int | None = None

    def available_at(self, at_ms: int, freed_ticks: int = 0) -> int | None:
        """What may still be set aside, once `freed_ticks` of what is held are free again; None: no limit."""
        held = self.held_ticks - freed_ticks
        return available(self.balance_ticks, held, self.credit_limit_ticks, self.credit_expires_at_ms, at_ms)

    @property
    def uncommitted_ticks(self) -> int | None:
        """What a transfer by hand may take off: what no call holds, expired or not; None: no limit."""
        return uncommitted(self.balance_ticks, self.held_ticks, self.credit_limit_ticks)


@dataclass(slots=True)
class AllowanceState:
    """One allowance under lock: what is left, and how much of it open holds have set aside."""

    allowance_id: int
    account_id: int
    remaining: int
    held: int
    terms: Allowance
    """Its terms; `terms.units` is not used here."""
    valid_from_ms: int = 0


class VoucherStatus(StrEnum):
    """What may become of a voucher: it is used once, for good; a block can be lifted."""

    READY = "ready"
    USED = "used"
    BLOCKED = "blocked"


@quick_value
class Gift:
    """Included units as a voucher gives them; they last for `valid_ms` from the day of redemption, if that
    is set."""

    name: str
    units: int
    terms: Allowance
    valid_ms: int | None = None


@dataclass(slots=True)
class Voucher:
    """One voucher under lock: its value is money (ticks of a currency) or a gift."""

    voucher_id: int
    status: VoucherStatus
    currency: str | None = None
    ticks: int = 0
    gift: Gift | None = None
    expires_at_ms: int | None = None
    credit_valid_ms: int | None = None
    """Its money lasts so long from its redemption; None: as long as the account's."""
    account_id: int | None = None
    """Who used it, when, by which transfer."""
    transfer_id: str | None = None
    redeemed_at_ms: int | None = None


@quick_value
class LegHold:
    """What one payer has set aside for one leg of one call."""

    leg_no: int
    account_id: int
    ticks: int
    draws: tuple[Draw, ...] = ()


# --- commands -----------------------------------------------------------------------------------


@quick_value
class Writes:
    """Rows that go into the same transaction as a command: the call's snapshot and its records.

    Each is a whole row, column name to value, for tables `calls` and `call_records`; it replaces the row of
    the same call (and leg). Columns left out get their default. `charge_id` is filled in by the ledger.
    A function that makes Writes must be pure: it may run in another thread, and again after a retry.
    """

    call: Mapping[str, Any] | None = None
    records: tuple[Mapping[str, Any], ...] = ()


SessionKey = tuple[str, str]
"""(switch, session there) of which a call is one service, as its row in `calls` has them; None: it is all."""


@quick_value
class PayingLeg:
    """One payer's view of a call: on which account to hold, at what price."""

    leg_no: int
    account_id: int
    pricer: Pricer


@quick_value
class Hold:
    """Make the call's holds cover `total_ms` of talk on every leg, all or none (opens or extends).

    The grant may be shorter than asked when money is short, never below `floor_ms` in total: then it is
    refused and the holds stay as they were. `shrink` allows a grant below what is held now (used at answer,
    when the price turns out different). Outcome: Granted or Refused.

    `legs` are all paying legs of the call: a leg that is not named is released. An extension (same legs, no
    `shrink`) is never refused for money, a block or a limit: it gets what can be bought, at least what it
    has, and `final` says that there is no more. Calls of one `session` count as one call; of those
    with the same `part` one can hold at a time. `opens` marks the first hold of a new call: under load it
    queues behind running calls and is the first to be turned away.
    """

    key: str
    call_id: str
    legs: tuple[PayingLeg, ...]
    total_ms: int
    floor_ms: int
    at_ms: int
    shrink: bool = False
    opens: bool = False
    session: SessionKey | None = None
    part: str = ""
    writes: Callable[[Granted | Refused], Writes] | None = None


@quick_value
class SettlingLeg:
    """Who pays whom for one leg. Guarded payers never fall below their limit."""

    leg_no: int
    payer_id: int
    payee_id: int
    tax_id: int | None
    pricer: Pricer
    guarded: bool = True


@quick_value
class Settle:
    """Charge every leg for the actual duration and release its holds. A call that never talked has 0 ms.

    With `correct` a call that is settled already is charged again: the old charges are reversed, the new
    ones posted (a late CDR that knows better). Outcome: Settled, or Refused(CALL_CLOSED) without `correct`.
    """

    key: str
    call_id: str
    legs: tuple[SettlingLeg, ...]
    duration_ms: int
    at_ms: int
    correct: bool = False
    session: SessionKey | None = None
    writes: Callable[[Settled], Writes] | None = None


@quick_value
class Save:
    """Only rows, no money: the call moved on (ringing, in doubt, proven alive)."""

    key: str
    call_id: str
    rows: Writes


@quick_value
class Post:
    """Move money between accounts of one currency: (account_id, ticks) entries that sum to zero.

    kind: top_up, adjust, transfer, reverse. `guarded`: no entry may take an account below its limit.
    Outcome: Posted or Refused.
    """

    key: str
    kind: str
    entries: tuple[tuple[int, int], ...]
    at_ms: int
    memo: str = ""
    actor: str = ""
    guarded: bool = True
    credit_valid_ms: int | None = None
    """The first entry's account has its money for so long from now, at least (`ocs.ledger.credit`)."""


@quick_value
class Forfeit:
    """Take what expired to the house: the balance less what calls hold, `at_most_ticks` of it.

    Only while its date still is `expired_at_ms`; once a date, whoever asks how often. Outcome: Posted,
    Unmoved or Refused.
    """

    account_id: int
    house_id: int
    expired_at_ms: int
    at_most_ticks: int
    at_ms: int
    actor: str = ""

    @property
    def key(self) -> str:
        """One for each account and date."""
        return f"forfeit:{self.account_id}:{self.expired_at_ms}"


@quick_value
class AddAllowance:
    """Give an account included units. Outcome: Posted."""

    key: str
    account_id: int
    name: str
    units: int
    terms: Allowance
    at_ms: int
    actor: str = ""


@quick_value
class Redeem:
    """Use a voucher up: its value goes onto the account. Outcome: Redeemed, NotRedeemed or Refused.

    code_hashes: under what its code may be stored, one for each key in force (`ocs.services.keyed_hash`).
    house_id: the account that a voucher's money comes from. A NotRedeemed changes nothing and is not kept:
    its key may be used again.
    """

    key: str
    account_id: int
    house_id: int
    code_hashes: tuple[str, ...]
    at_ms: int
    actor: str = ""


Command = Hold | Settle | Save | Post | Forfeit | AddAllowance | Redeem


# --- outcomes -----------------------------------------------------------------------------------


@quick_value
class Granted:
    """The call may last `granted_ms` in total. `final`: no more could be bought after it at this moment."""

    granted_ms: int
    final: bool
    holds: tuple[LegHold, ...]
    limited_by: int | None = None
    """The account that made the grant shorter than asked, if one did."""
    available_ticks: int | None = None
    """What the first leg's account could still set aside after it; None: not known, or no limit."""


@quick_value
class Refused:
    """No, and why, and on whose account. Nothing was changed."""

    reason: Refusal
    account_id: int | None = None


@quick_value
class LegSettled:
    """One leg: collected + shortfall = charge.total; a shortfall only where a limit stood in the way."""

    leg_no: int
    charge: Charge
    collected_ticks: int
    shortfall_ticks: int
    balance_after_ticks: int
    held_peak_ticks: int = 0
    charge_id: str = ""
    """Row of table `charges`; the call record points to it."""


@quick_value
class Settled:
    """The call is over and paid."""

    legs: tuple[LegSettled, ...]


@quick_value
class Saved:
    """The rows are durable."""


@quick_value
class Posted:
    """The transfer is durable. balances: account_id to balance after."""

    transfer_id: str
    balances: Mapping[int, int] = field(default_factory=dict)


@quick_value
class Unmoved:
    """There was nothing to move. Nothing was changed; it is not kept, and its key may be used again."""


@quick_value
class Redeemed:
    """The voucher is used and its value stands on the account: `ticks` of money, or `units`."""

    transfer_id: str
    voucher_id: int
    ticks: int
    units: int
    unit: str
    balance_ticks: int
    """Of the account, after it."""


@quick_value
class NotRedeemed:
    """No, and why. Nothing was changed; it is not kept: whoever guesses codes leaves no rows behind."""

    reason: VoucherRefusal


Kept = Granted | Refused | Settled | Saved | Posted | Redeemed
"""What the second arrival of a key gets again."""
Outcome = Kept | Unmoved | NotRedeemed
