"""What becomes of prepaid money that its owner let expire? It goes to an account of the house, once a date.

Whoever asks has looked at the account without a lock: here it is looked at again. A top-up that came
meanwhile has moved the date, and nothing is taken.
"""

from __future__ import annotations

from ocs.errors import CallerError
from ocs.ledger.batch import Batch, Entry, Plan, Transfer
from ocs.ledger.model import AccountKind, Forfeit, Posted, Refused, Unmoved
from ocs.ledger.settling import transfer_id_of
from ocs.refusals import Refusal

KIND = "forfeit"
"""Kind of the transfers made here."""


def plan_forfeit(batch: Batch, command: Forfeit) -> Plan:
    """Decide a Forfeit. Unmoved: there is nothing to take, or its date is another one by now."""
    for account_id in (command.account_id, command.house_id):
        if account_id not in batch.accounts:
            return Plan(Refused(Refusal.ACCOUNT_UNKNOWN, account_id))
    account, house = batch.accounts[command.account_id], batch.accounts[command.house_id]
    if house.kind is not AccountKind.FORFEITED or house.currency != account.currency:
        raise CallerError(f"what {account.code} forfeits does not go to {house.code}")
    if account.credit_expires_at_ms != command.expired_at_ms or command.at_ms < command.expired_at_ms:
        return Plan(Unmoved())
    ticks = min(command.at_most_ticks, account.balance_ticks - account.held_ticks)
    if ticks <= 0:
        return Plan(Unmoved())
    entries = tuple(
        Entry(each.account_id, each.currency, moved, each.balance_ticks + moved)
        for each, moved in ((account, -ticks), (house, ticks))
    )
    transfer = Transfer(
        transfer_id=transfer_id_of(command.at_ms, command.key),
        key=command.key,
        kind=KIND,
        at_ms=command.at_ms,
        entries=entries,
        actor=command.actor,
    )
    balances = {entry.account_id: entry.balance_after_ticks for entry in entries}
    return Plan(Posted(transfer.transfer_id, balances), apply=lambda: batch.post(transfer))
