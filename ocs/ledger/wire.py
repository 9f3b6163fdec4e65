"""How is an outcome kept, so that the second arrival of a key gets the same value back?

Outcomes and charge lines as plain JSON values and back. Exact amounts are written "numerator/denominator",
because they may need more than 64 bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ocs.ledger.model import (
    Granted,
    Kept,
    LegHold,
    LegSettled,
    Posted,
    Redeemed,
    Refused,
    Saved,
    Settled,
)
from ocs.rating.model import Charge, ChargeLine, Draw
from ocs.refusals import Refusal


def dump_outcome(outcome: Kept) -> dict[str, Any]:
    """An outcome that is kept, as JSON values."""
    match outcome:
        case Granted():
            return {
                "granted_ms": outcome.granted_ms,
                "final": outcome.final,
                "holds": [
                    [leg.leg_no, leg.account_id, leg.ticks, dump_draws(leg.draws)] for leg in outcome.holds
                ],
                "limited_by": outcome.limited_by,
                "available": outcome.available_ticks,
            }
        case Refused():
            return {"refused": outcome.reason.value, "account_id": outcome.account_id}
        case Settled():
            return {"settled": [_dump_leg(leg) for leg in outcome.legs]}
        case Saved():
            return {}
        case Posted():
            return {"posted": outcome.transfer_id, "balances": [list(b) for b in outcome.balances.items()]}
        case Redeemed():
            return {
                "redeemed": outcome.transfer_id,
                "voucher_id": outcome.voucher_id,
                "ticks": outcome.ticks,
                "units": outcome.units,
                "unit": outcome.unit,
                "balance": outcome.balance_ticks,
            }


def load_outcome(kept: Mapping[str, Any]) -> Kept:
    """The outcome that `dump_outcome` wrote."""
    if "granted_ms" in kept:
        holds = tuple(LegHold(no, account, ticks, load_draws(d)) for no, account, ticks, d in kept["holds"])
        return Granted(kept["granted_ms"], kept["final"], holds, kept["limited_by"], kept.get("available"))
    if "refused" in kept:
        return Refused(Refusal(kept["refused"]), kept["account_id"])
    if "settled" in kept:
        return Settled(tuple(_load_leg(leg) for leg in kept["settled"]))
    if "posted" in kept:
        return Posted(kept["posted"], dict(kept["balances"]))
    if "redeemed" in kept:
        return Redeemed(
            kept["redeemed"],
            kept["voucher_id"],
            kept["ticks"],
            kept["units"],
            kept["unit"],
            kept["balance"],
        )
    return Saved()


def dump_draws(draws: Sequence[Draw]) -> list[list[int]]:
    """[[allowance_id, units], …]."""
    return [[draw.allowance_id, draw.units] for draw in draws]


def load_draws(kept: Sequence[Sequence[int]]) -> tuple[Draw, ...]:
    """The draws that `dump_draws` wrote."""
    return tuple(Draw(allowance_id, units) for allowance_id, units in kept)


def dump_lines(lines: Sequence[ChargeLine]) -> list[dict[str, Any]]:
    """Explanation lines as JSON objects."""
    return [
        {
            "kind": line.kind,
            "text": line.text,
            "exact": f"{line.exact_num}/{line.exact_den}",
            "from_s": line.from_s,
            "to_s": line.to_s,
        }
        for line in lines
    ]


def load_lines(kept: Sequence[Mapping[str, Any]]) -> tuple[ChargeLine, ...]:
    """The lines that `dump_lines` wrote."""
    lines = []
    for line in kept:
        num, den = line["exact"].split("/")
        lines.append(ChargeLine(line["kind"], line["text"], int(num), int(den), line["from_s"], line["to_s"]))
    return tuple(lines)


def _dump_leg(leg: LegSettled) -> dict[str, Any]:
    charge = leg.charge
    return {
        "leg_no": leg.leg_no,
        "collected": leg.collected_ticks,
        "shortfall": leg.shortfall_ticks,
        "balance_after": leg.balance_after_ticks,
        "held_peak": leg.held_peak_ticks,
        "charge_id": leg.charge_id,
        "charge": {
            "currency": charge.currency,
            "duration_ms": charge.duration_ms,
            "billed_s": charge.billed_s,
            "net": charge.net_ticks,
            "tax": charge.tax_ticks,
            "draws": dump_draws(charge.draws),
            "lines": dump_lines(charge.lines),
        },
    }


def _load_leg(kept: Mapping[str, Any]) -> LegSettled:
    charge = kept["charge"]
    return LegSettled(
        leg_no=kept["leg_no"],
        charge=Charge(
            currency=charge["currency"],
            duration_ms=charge["duration_ms"],
            billed_s=charge["billed_s"],
            net_ticks=charge["net"],
            tax_ticks=charge["tax"],
            draws=load_draws(charge["draws"]),
            lines=load_lines(charge["lines"]),
        ),
        collected_ticks=kept["collected"],
        shortfall_ticks=kept["shortfall"],
        balance_after_ticks=kept["balance_after"],
        held_peak_ticks=kept["held_peak"],
        charge_id=kept["charge_id"],
    )
