"""May this voucher be used, and what does it bring? One voucher, one transfer, whoever asks how often.

Three things keep it single: the batch has the voucher's row under lock; its status changes in the same
transaction as the balance; and the transfer's key is the voucher itself, which the database takes only once.
"""

from __future__ import annotations

from dataclasses import replace

from ocs.errors import CallerError
from ocs.ledger.batch import Batch, Entry, NewAllowance, Plan, Transfer
from ocs.ledger.credit import good_until
from ocs.ledger.model import (
    Account,
    Gift,
    NotRedeemed,
    Redeem,
    Redeemed,
    Refused,
    Voucher,
    VoucherStatus,
)
from ocs.ledger.settling import transfer_id_of
from ocs.money import MAX_TICKS
from ocs.rating.units import Unit
from ocs.refusals import Refusal, VoucherRefusal

KIND = "voucher"
"""Kind of the transfers made here."""


def transfer_key(voucher_id: int) -> str:
    """The key of the one transfer that a voucher may cause (`transfers.key` is unique)."""
    return f"{KIND}:{voucher_id}"


def plan_redeem(batch: Batch, command: Redeem) -> Plan:
    """Decide a Redeem. The checks are in the order of VoucherRefusal, after the account's own."""
    for account_id in (command.account_id, command.house_id):
        if account_id not in batch.accounts:
            return Plan(Refused(Refusal.ACCOUNT_UNKNOWN, account_id))
    account = batch.accounts[command.account_id]
    voucher = next((batch.vouchers[h] for h in command.code_hashes if h in batch.vouchers), None)
    if voucher is None:
        return Plan(NotRedeemed(VoucherRefusal.UNKNOWN))
    refusal = _refusal(voucher, account, command.at_ms)
    if refusal is not None:
        return Plan(NotRedeemed(refusal))
    if voucher.gift is not None:
        return _give_units(batch, command, voucher, voucher.gift, account)
    return _give_money(batch, command, voucher, account)


def _refusal(voucher: Voucher, account: Account, at_ms: int) -> VoucherRefusal | None:
    if voucher.status is VoucherStatus.USED:
        return VoucherRefusal.USED
    if voucher.status is VoucherStatus.BLOCKED:
        return VoucherRefusal.BLOCKED
    if voucher.expires_at_ms is not None and at_ms >= voucher.expires_at_ms:
        return VoucherRefusal.EXPIRED
    if voucher.currency is not None and voucher.currency != account.currency:
        return VoucherRefusal.CURRENCY
    return None


def _give_money(batch: Batch, command: Redeem, voucher: Voucher, account: Account) -> Plan:
    house, ticks = batch.accounts[command.house_id], voucher.ticks
    if house is account or house.currency != account.currency:
        raise CallerError(f"{house.code} does not pay out vouchers to {account.code}")
    after = account.balance_ticks + ticks
    if after > MAX_TICKS or house.balance_ticks - ticks < -MAX_TICKS:
        raise CallerError("the balance after this would not fit the ledger")
    transfer = _transfer(
        command,
        voucher,
        entries=(
            Entry(account.account_id, account.currency, ticks, after),
            Entry(house.account_id, account.currency, -ticks, house.balance_ticks - ticks),
        ),
    )
    until_ms = good_until(
        account.balance_ticks, account.credit_expires_at_ms, command.at_ms, voucher.credit_valid_ms
    )

    def apply() -> None:
        batch.use_up(voucher, transfer, account.account_id)
        batch.set_credit_date(account.account_id, until_ms)

    redeemed = Redeemed(transfer.transfer_id, voucher.voucher_id, ticks, 0, Unit.MONEY.value, after)
    return Plan(redeemed, apply=apply)


def _give_units(batch: Batch, command: Redeem, voucher: Voucher, gift: Gift, account: Account) -> Plan:
    terms = gift.terms
    if gift.valid_ms is not None:
        terms = replace(terms, expires_at_ms=command.at_ms + gift.valid_ms)
    state = batch.next_allowance(account.account_id, terms, command.at_ms)
    transfer = _transfer(command, voucher, units=((state.allowance_id, gift.units),), memo=gift.name)

    def apply() -> None:
        batch.add_allowance(NewAllowance(state, gift.name, gift.units))
        batch.use_up(voucher, transfer, account.account_id)

    redeemed = Redeemed(
        transfer.transfer_id, voucher.voucher_id, 0, gift.units, terms.unit, account.balance_ticks
    )
    return Plan(redeemed, apply=apply)


def _transfer(
    command: Redeem,
    voucher: Voucher,
    *,
    entries: tuple[Entry, ...] = (),
    units: tuple[tuple[int, int], ...] = (),
    memo: str = "",
) -> Transfer:
    key = transfer_key(voucher.voucher_id)
    return Transfer(
        transfer_id=transfer_id_of(command.at_ms, key),
        key=key,
        kind=KIND,
        at_ms=command.at_ms,
        entries=entries,
        units=units,
        memo=memo,
        actor=command.actor,
    )
