"""Who pays what for the time the call was up, and where does the money go?

Settling prices the actual duration once, takes it from what the call held (and, if that is too little, from
what is available), and releases the rest. When a guarded payer has less than the price, the collected part
is divided between tax and net in the proportion of the charge, tax rounded down, so the payee gets the odd
tick; the rest is the charge's shortfall. A correction first turns the old transfers around.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b

from ocs.errors import CallerError
from ocs.ledger.batch import Batch, CallMoney, Entry, NewCharge, PastCharge, Plan, Transfer, usable
from ocs.ledger.days import local_day
from ocs.ledger.model import Account, AccountKind, LegSettled, Refused, Settle, Settled, SettlingLeg
from ocs.rating.model import Allowance, Charge
from ocs.refusals import Refusal

HOUSE = frozenset(
    {AccountKind.REVENUE, AccountKind.COST, AccountKind.TAX, AccountKind.CASH, AccountKind.FORFEITED}
)


def transfer_id_of(at_ms: int, key: str) -> str:
    """The id of a transfer: its time first, so that new rows stand together, then a digest of its key."""
    return f"{at_ms:012x}{blake2b(key.encode(), digest_size=10).hexdigest()}"


def plan_settle(batch: Batch, command: Settle) -> Plan:
    """Decide a Settle: Settled, or Refused (closed without `correct`; an account that does not exist)."""
    if command.duration_ms < 0:
        raise CallerError("a call does not last less than nothing")
    call = batch.call(command.call_id)
    if (call.closed or call.charges) and not command.correct:
        return Plan(Refused(Refusal.CALL_CLOSED))
    for leg in command.legs:
        for account_id in (leg.payer_id, leg.payee_id, leg.tax_id):
            if account_id is not None and account_id not in batch.accounts:
                return Plan(Refused(Refusal.ACCOUNT_UNKNOWN, account_id))
    bill = _Bill(batch, command, call)
    for past in call.charges:
        bill.turn_around(past)
    for leg in command.legs:
        bill.charge(leg)
    settled = Settled(tuple(bill.settled))
    writes = command.writes(settled) if command.writes is not None else None
    return Plan(settled, apply=bill.apply, writes=writes)


@dataclass(slots=True)
class _Bill:
    """The settling of one call in the making: running balances and units, nothing changed yet."""

    batch: Batch
    command: Settle
    call: CallMoney
    balances: dict[int, int] = field(default_factory=dict)
    spent: dict[int, tuple[int, int]] = field(default_factory=dict)
    """account_id to (local day, ticks spent that day)."""
    returned: dict[int, int] = field(default_factory=dict)
    taken: dict[int, int] = field(default_factory=dict)
    transfers: list[Transfer] = field(default_factory=list)
    charges: list[NewCharge] = field(default_factory=list)
    settled: list[LegSettled] = field(default_factory=list)

    def turn_around(self, past: PastCharge) -> None:
        """Undo an old charge: its postings and draws the other way."""
        for draw in past.draws:
            self.returned[draw.allowance_id] = self.returned.get(draw.allowance_id, 0) + draw.units
        if past.transfer_id is None:
            return
        key = f"{self.command.key}#{past.leg_no}r"
        self.transfers.append(
            Transfer(
                transfer_id=transfer_id_of(self.command.at_ms, key),
                key=key,
                kind="reverse",
                at_ms=self.command.at_ms,
                entries=tuple(self._entry(account_id, -ticks) for account_id, ticks in past.entries),
                units=tuple((draw.allowance_id, draw.units) for draw in past.draws),
                call_id=self.command.call_id,
                reverses=past.transfer_id,
            )
        )
        for account_id, ticks in past.entries:
            if ticks < 0:
                self._spend(self.batch.accounts[account_id], ticks, only_on_day_of=past.at_ms)

    def charge(self, leg: SettlingLeg) -> None:
        """Price the leg, collect what may be collected, and draw the units."""
        command, payer = self.command, self.batch.accounts[leg.payer_id]
        charge = leg.pricer.charge(command.duration_ms, self._allowances(leg.payer_id))
        self._check(leg, charge)
        collected = self._collectable(leg, payer, charge.total_ticks)
        tax = charge.tax_ticks if leg.tax_id is not None else 0
        if collected < charge.total_ticks and tax:
            tax = collected * tax // charge.total_ticks
        key = f"{command.key}#{leg.leg_no}"
        transfer_id = None
        if collected or charge.draws:
            transfer_id = transfer_id_of(command.at_ms, key)
            moves = [(leg.payer_id, -collected), (leg.payee_id, collected - tax)]
            if tax and leg.tax_id is not None:
                moves.append((leg.tax_id, tax))
            self.transfers.append(
                Transfer(
                    transfer_id=transfer_id,
                    key=key,
                    kind="charge",
                    at_ms=command.at_ms,
                    entries=tuple(self._entry(account_id, ticks) for account_id, ticks in moves if ticks),
                    units=tuple((draw.allowance_id, -draw.units) for draw in charge.draws),
                    call_id=command.call_id,
                )
            )
            self._spend(payer, collected)
        for draw in charge.draws:
            self.taken[draw.allowance_id] = self.taken.get(draw.allowance_id, 0) + draw.units
        self._note(leg, charge, collected, transfer_id, transfer_id_of(command.at_ms, f"{key}/charge"))

    def _note(
        self, leg: SettlingLeg, charge: Charge, collected: int, transfer_id: str | None, charge_id: str
    ) -> None:
        """Write the charge down on the statement of whoever is not the house."""
        payer = self.batch.accounts[leg.payer_id]
        stands_on = leg.payee_id if payer.kind in HOUSE else leg.payer_id
        hold = self.call.holds.get(leg.leg_no)
        shortfall = charge.total_ticks - collected
        self.charges.append(
            NewCharge(
                charge_id=charge_id,
                transfer_id=transfer_id,
                call_id=self.command.call_id,
                leg_no=leg.leg_no,
                account_id=stands_on,
                tariff_version_id=leg.pricer.tariff_version_id,
                charge=charge,
                collected_ticks=collected,
                shortfall_ticks=shortfall,
                at_ms=self.command.at_ms,
            )
        )
        self.settled.append(
            LegSettled(
                leg_no=leg.leg_no,
                charge=charge,
                collected_ticks=collected,
                shortfall_ticks=shortfall,
                balance_after_ticks=self._balance(stands_on),
                held_peak_ticks=hold.peak_ticks if hold else self._past_peak(leg.leg_no),
                charge_id=charge_id,
            )
        )

    def _past_peak(self, leg_no: int) -> int:
        return next((past.held_peak_ticks for past in self.call.charges if past.leg_no == leg_no), 0)

    def _check(self, leg: SettlingLeg, charge: Charge) -> None:
        """What the ledger could not carry out is a fault of the pricer: say so before any change."""
        for account_id in (leg.payer_id, leg.payee_id, leg.tax_id):
            if account_id is not None:
                account = self.batch.accounts[account_id]
                if account.currency != charge.currency:
                    raise CallerError(
                        f"account {account.code} is in {account.currency}, not {charge.currency}"
                    )
        if charge.total_ticks < 0 or charge.tax_ticks < 0:
            raise CallerError("a charge is not negative; give money back with a transfer")
        free = {a.allowance_id: a.units for a in self._allowances(leg.payer_id)}
        for draw in charge.draws:
            if draw.units > free.get(draw.allowance_id, 0):
                raise CallerError(f"allowance {draw.allowance_id} has no {draw.units} units to draw")

    def _collectable(self, leg: SettlingLeg, payer: Account, total: int) -> int:
        """All of it, unless the payer is guarded and has less: its own hold and what is available."""
        if not leg.guarded or payer.credit_limit_ticks is None:
            return total
        held_by_others = payer.held_ticks - self.call.own_ticks(payer.account_id)
        funds = self._balance(payer.account_id) - held_by_others + payer.credit_limit_ticks
        return max(0, min(total, funds))

    def _allowances(self, account_id: int) -> tuple[Allowance, ...]:
        states = self.batch.allowances_of(account_id)
        if not states:
            return ()
        own = self.call.own_units()
        for allowance_id, units in self.returned.items():
            own[allowance_id] = own.get(allowance_id, 0) + units
        return usable(states, self.command.at_ms, own, self.taken)

    def _balance(self, account_id: int) -> int:
        return self.balances.get(account_id, self.batch.accounts[account_id].balance_ticks)

    def _entry(self, account_id: int, ticks: int) -> Entry:
        self.balances[account_id] = self._balance(account_id) + ticks
        return Entry(account_id, self.batch.accounts[account_id].currency, ticks, self.balances[account_id])

    def _spend(self, account: Account, ticks: int, only_on_day_of: int | None = None) -> None:
        """Count settled usage of the local day; a reversal counts only if the old charge was today."""
        today = local_day(self.command.at_ms, account.timezone)
        if only_on_day_of is not None and local_day(only_on_day_of, account.timezone) != today:
            return
        day, spent = self.spent.get(account.account_id, (account.spent_day, account.spent_ticks))
        if day != today:
            spent = 0
        self.spent[account.account_id] = (today, max(0, spent + ticks))

    def apply(self) -> None:
        """Carry it out."""
        batch, call_id = self.batch, self.command.call_id
        batch.replace_holds(call_id, {}, self.command.session)
        for transfer in self.transfers:
            batch.post(transfer)
        for account_id, (day, ticks) in self.spent.items():
            account = batch.accounts[account_id]
            account.spent_day, account.spent_ticks = day, ticks
            batch.changed_accounts.add(account_id)
        call = batch.calls[call_id]
        replaced_by = {charge.leg_no: charge.charge_id for charge in self.charges}
        for past in call.charges:
            # A leg that the correction no longer has points to itself: reversed, replaced by nothing.
            batch.reversed_charges[past.charge_id] = replaced_by.get(past.leg_no, past.charge_id)
        batch.charges.extend(self.charges)
        call.closed = True
        entries = {transfer.transfer_id: transfer.entries for transfer in self.transfers}
        peaks = {leg.leg_no: leg.held_peak_ticks for leg in self.settled}
        call.charges = [
            PastCharge(
                charge_id=charge.charge_id,
                leg_no=charge.leg_no,
                transfer_id=charge.transfer_id,
                draws=charge.charge.draws,
                at_ms=charge.at_ms,
                entries=tuple(
                    (entry.account_id, entry.ticks) for entry in entries.get(charge.transfer_id or "", ())
                ),
                held_peak_ticks=peaks[charge.leg_no],
            )
            for charge in self.charges
        ]
