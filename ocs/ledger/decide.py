"""May this command happen, and what changes if it does? The ledger's decisions, in one place.

Idempotency first: a key that was answered gets the same answer. Then the checks, in the order of
`ocs.refusals.Refusal`; then the rows that go along are made; only then the change, which cannot fail.
So a command that breaks (a pricer or a rows function raises) leaves the batch as it was.
"""

from __future__ import annotations

from hashlib import blake2b

from ocs.errors import CallerError, Conflict
from ocs.ledger.batch import Answer, Batch, Entry, NewAllowance, Plan, PreparedRows, Transfer
from ocs.ledger.credit import good_until
from ocs.ledger.forfeiting import plan_forfeit
from ocs.ledger.holding import plan_hold
from ocs.ledger.model import (
    AddAllowance,
    Command,
    Forfeit,
    Hold,
    NotRedeemed,
    Outcome,
    Post,
    Posted,
    Redeem,
    Refused,
    Save,
    Saved,
    Settle,
    Settled,
    Unmoved,
)
from ocs.ledger.redeeming import plan_redeem
from ocs.ledger.settling import plan_settle, transfer_id_of
from ocs.money import MAX_TICKS
from ocs.rating.units import Unit
from ocs.refusals import Refusal


def decide(batch: Batch, command: Command) -> Outcome:
    """Decide one command and carry it out on the batch; the second arrival of a key gets the first answer.

    Raises Conflict when the key was used for something else, CallerError when the command contradicts
    itself; whatever a pricer or a rows function raises passes through. The batch is then unchanged.
    """
    means = meaning(command)
    known = batch.keys.get(command.key)
    if known is not None:
        if known.meaning != means:
            raise Conflict(
                f"key {command.key!r} was used for {known.meaning}, not for {means}",
                hint="the same key with another amount, memo or purpose moves nothing: use a new one",
            )
        return known.outcome
    plan = _plan(batch, command)
    rows = _prepare(batch, plan)
    if plan.apply is not None:
        plan.apply()
    if rows is not None:
        batch.keep(rows)
    if not isinstance(plan.outcome, NotRedeemed | Unmoved):
        batch.remember(command.key, Answer(means, plan.outcome))
    return plan.outcome


def meaning(command: Command) -> str:
    """What a key stands for: the kind of command and its subject, short enough to be stored.

    For a call it is the call alone: after a restart the same question may come with a slightly different
    duration, and must get the first answer. For money moved by hand it is the whole movement.
    """
    match command:
        case Hold():
            return f"hold {command.call_id}"
        case Settle():
            return f"settle {command.call_id}"
        case Save():
            return f"save {command.call_id}"
        case Post():
            moved = f"{command.kind} {command.entries}"
            if command.credit_valid_ms is not None:
                moved += f" {command.credit_valid_ms}"
            return f"post {_digest(moved)}"
        case Forfeit():
            return f"forfeit {command.account_id}"
        case AddAllowance():
            gift = f"{command.account_id} {command.name} {command.units}"
            if command.terms.unit != Unit.SECOND:
                gift += f" {command.terms.unit}"
            return f"allowance {_digest(gift)}"
        case Redeem():
            return f"redeem {_digest(f'{command.account_id} {command.code_hashes[0]}')}"


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=12).hexdigest()


def _plan(batch: Batch, command: Command) -> Plan:
    match command:
        case Hold():
            return plan_hold(batch, command)
        case Settle():
            return plan_settle(batch, command)
        case Save():
            return Plan(Saved(), writes=command.rows)
        case Post():
            return _plan_post(batch, command)
        case Forfeit():
            return plan_forfeit(batch, command)
        case AddAllowance():
            return _plan_allowance(batch, command)
        case Redeem():
            return plan_redeem(batch, command)


def _prepare(batch: Batch, plan: Plan) -> PreparedRows | None:
    """Encode the rows while the command can still fail alone; settled records get their charge's id."""
    if plan.writes is None:
        return None
    charge_ids: dict[int, str] = {}
    if isinstance(plan.outcome, Settled):
        charge_ids = {leg.leg_no: leg.charge_id for leg in plan.outcome.legs}
    prepared = PreparedRows()
    if plan.writes.call is not None:
        row = plan.writes.call
        prepared.calls[row["call_id"]] = batch.prepare("calls", row)
        prepared.closes = row["call_id"] if row.get("state") == "closed" else None
    for record in plan.writes.records:
        leg = (record["call_id"], record["leg_no"])
        linked = {**record, "charge_id": record.get("charge_id") or charge_ids.get(record["leg_no"])}
        prepared.records[leg] = batch.prepare("call_records", linked)
    return prepared


def _plan_post(batch: Batch, command: Post) -> Plan:
    """Checks: entries balance, accounts exist, one currency, no guarded account below its limit."""
    if not command.entries or sum(ticks for _, ticks in command.entries) != 0:
        raise CallerError("the entries of a transfer must sum to zero")
    for account_id, _ in command.entries:
        if account_id not in batch.accounts:
            return Plan(Refused(Refusal.ACCOUNT_UNKNOWN, account_id))
    currencies = {batch.accounts[account_id].currency for account_id, _ in command.entries}
    if len(currencies) > 1:
        raise CallerError(f"a transfer moves one currency, not {' and '.join(sorted(currencies))}")
    currency = currencies.pop()
    balances = {account_id: batch.accounts[account_id].balance_ticks for account_id, _ in command.entries}
    entries = []
    for account_id, ticks in command.entries:
        balances[account_id] += ticks
        entries.append(Entry(account_id, currency, ticks, balances[account_id]))
    if command.guarded:
        for account_id, balance in balances.items():
            account = batch.accounts[account_id]
            free = account.uncommitted_ticks
            falls = balance < account.balance_ticks
            if falls and free is not None and free + balance - account.balance_ticks < 0:
                return Plan(Refused(Refusal.INSUFFICIENT_FUNDS, account_id))
    for balance in balances.values():
        if abs(balance) > MAX_TICKS:
            raise CallerError("the balance after this would not fit the ledger")
    transfer = Transfer(
        transfer_id=transfer_id_of(command.at_ms, command.key),
        key=command.key,
        kind=command.kind,
        at_ms=command.at_ms,
        entries=tuple(entries),
        memo=command.memo,
        actor=command.actor,
    )
    account = batch.accounts[command.entries[0][0]]
    until_ms = good_until(
        account.balance_ticks, account.credit_expires_at_ms, command.at_ms, command.credit_valid_ms
    )

    def apply() -> None:
        batch.post(transfer)
        batch.set_credit_date(account.account_id, until_ms)

    return Plan(Posted(transfer.transfer_id, balances), apply=apply)


def _plan_allowance(batch: Batch, command: AddAllowance) -> Plan:
    if command.units <= 0:
        raise CallerError("an allowance has at least one unit")
    if command.account_id not in batch.accounts:
        return Plan(Refused(Refusal.ACCOUNT_UNKNOWN, command.account_id))
    state = batch.next_allowance(command.account_id, command.terms, command.at_ms)
    transfer = Transfer(
        transfer_id=transfer_id_of(command.at_ms, command.key),
        key=command.key,
        kind="allowance",
        at_ms=command.at_ms,
        entries=(),
        units=((state.allowance_id, command.units),),
        memo=command.name,
        actor=command.actor,
    )

    def apply() -> None:
        batch.add_allowance(NewAllowance(state, command.name, command.units))
        batch.post(transfer)

    return Plan(Posted(transfer.transfer_id), apply=apply)
