"""Are the books right? Every invariant of the design, proven on the database itself.

Each invariant is a query for the rows that break it, summed up by the database, so millions of rows are
fine. All run on one snapshot: calls may go on meanwhile. Only the charges' lines are added up here, streamed,
because their exact amounts may need more than 64 bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from db.engine import reading
from db.tables import charges

SHOWN: Final = 20
"""Offending rows that a finding spells out; `rows` counts them all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An invariant that holds over so many rows, or (not ok) how many rows break it and which."""

    invariant: str
    ok: bool
    rows: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Invariant:
    """What must be true, the table whose rows it speaks of, and the query for the rows that break it."""

    name: str
    table: str
    broken: str


_NAMED: Final = (
    ("the account of a hold", "holds", "account_id", "accounts"),
    ("the account of a posting", "postings", "account_id", "accounts"),
    ("the transfer of a posting", "postings", "transfer_id", "transfers"),
    ("the account of a charge", "charges", "account_id", "accounts"),
    ("the transfer of a charge", "charges", "transfer_id", "transfers"),
    ("the account of a record", "call_records", "account_id", "accounts"),
    ("the tariff version of a record", "call_records", "tariff_version_id", "tariff_versions"),
)
"""What rows name without a foreign key (`db.tables` says why)."""

INVARIANTS: Final = (
    Invariant(
        "postings of a transfer sum to zero per currency",
        "postings",
        """SELECT transfer_id, currency, sum(ticks) AS off_by FROM postings
           GROUP BY transfer_id, currency HAVING sum(ticks) <> 0""",
    ),
    Invariant(
        "a posting is in the currency of its account",
        "postings",
        """SELECT p.transfer_id, a.code, p.currency FROM postings p
           JOIN accounts a ON a.account_id = p.account_id WHERE a.currency <> p.currency""",
    ),
    Invariant(
        "a balance is the sum of its postings",
        "accounts",
        """SELECT a.code, a.balance_ticks, coalesce(p.ticks, 0) AS postings FROM accounts a
           LEFT JOIN (SELECT account_id, sum(ticks) AS ticks FROM postings GROUP BY account_id) p
           ON p.account_id = a.account_id WHERE a.balance_ticks <> coalesce(p.ticks, 0)""",
    ),
    Invariant(
        "what an account holds is the sum of its open holds",
        "accounts",
        """SELECT a.code, a.held_ticks, coalesce(h.ticks, 0) AS holds FROM accounts a
           LEFT JOIN (SELECT account_id, sum(ticks) AS ticks FROM holds GROUP BY account_id) h
           ON h.account_id = a.account_id WHERE a.held_ticks <> coalesce(h.ticks, 0)""",
    ),
    Invariant(
        "open calls of an account are the calls that hold on it",  # services of one session: one call
        "accounts",
        """SELECT a.code, a.open_calls, coalesce(h.calls, 0) AS holding FROM accounts a
           LEFT JOIN (SELECT o.account_id,
                             count(DISTINCT coalesce(c.switch || ':' || c.session, o.call_id)) AS calls
                      FROM holds o LEFT JOIN calls c ON c.call_id = o.call_id GROUP BY o.account_id) h
           ON h.account_id = a.account_id WHERE a.open_calls <> coalesce(h.calls, 0)""",
    ),
    Invariant(
        "no account that pays is below its credit limit",
        "accounts",
        """SELECT code, balance_ticks, credit_limit_ticks FROM accounts
           WHERE kind IN ('customer', 'reseller', 'partner') AND balance_ticks + credit_limit_ticks < 0""",
    ),
    Invariant(
        "units held of an allowance are the draws of open holds",
        "allowances",
        """SELECT w.allowance_id, w.held, coalesce(d.units, 0) AS draws FROM allowances w
           LEFT JOIN (SELECT {draw_allowance} AS allowance_id, sum({draw_units}) AS units
                      FROM holds h, {draws} GROUP BY 1) d
           ON d.allowance_id = w.allowance_id WHERE w.held <> coalesce(d.units, 0)""",
    ),
    Invariant(
        "units left of an allowance are the sum of its postings, and no fewer than are held",
        "allowances",
        """SELECT w.allowance_id, w.remaining, w.held, coalesce(p.units, 0) AS postings FROM allowances w
           LEFT JOIN (SELECT allowance_id, sum(units) AS units FROM allowance_postings
                      GROUP BY allowance_id) p
           ON p.allowance_id = w.allowance_id
           WHERE w.remaining <> coalesce(p.units, 0) OR w.held > w.remaining""",
    ),
    Invariant(
        "a leg has one live charge at most",
        "charges",
        """SELECT call_id, leg_no, count(*) AS live FROM charges
           WHERE reversed_by IS NULL AND call_id IS NOT NULL
           GROUP BY call_id, leg_no HAVING count(*) > 1""",
    ),
    Invariant(
        "a charge is what was collected plus the shortfall, and its transfer moved the former",
        "charges",
        """SELECT c.charge_id, c.net_ticks + c.tax_ticks AS total, c.collected_ticks, c.shortfall_ticks,
                  coalesce(p.ticks, 0) AS moved FROM charges c
           LEFT JOIN (SELECT transfer_id, sum(ticks) AS ticks FROM postings WHERE ticks > 0
                      GROUP BY transfer_id) p ON p.transfer_id = c.transfer_id
           WHERE c.net_ticks + c.tax_ticks <> c.collected_ticks + c.shortfall_ticks
              OR c.collected_ticks <> coalesce(p.ticks, 0)""",
    ),
    Invariant(
        "a transfer is turned around once at most, and exactly",
        "transfers",
        """SELECT t.reverses, count(DISTINCT t.transfer_id) AS times, sum(p.ticks) AS off_by FROM transfers t
           LEFT JOIN (SELECT transfer_id, account_id, sum(ticks) AS ticks FROM postings
                      GROUP BY transfer_id, account_id) p
           ON p.transfer_id IN (t.transfer_id, t.reverses)
           WHERE t.reverses IS NOT NULL
           GROUP BY t.reverses, p.account_id
           HAVING count(DISTINCT t.transfer_id) > 1 OR coalesce(sum(p.ticks), 0) <> 0""",
    ),
    Invariant(
        "a live charge of a call has its record",
        "charges",
        """SELECT c.call_id, c.leg_no, c.charge_id, r.charge_id AS recorded FROM charges c
           LEFT JOIN call_records r ON r.call_id = c.call_id AND r.leg_no = c.leg_no
           WHERE c.reversed_by IS NULL AND c.kind = 'usage' AND c.call_id IS NOT NULL
             AND (r.charge_id IS NULL OR r.charge_id <> c.charge_id)""",
    ),
    Invariant(
        "a record of a call that was let through matches its live charge",
        "call_records",
        """SELECT r.call_id, r.leg_no, r.charge_id FROM call_records r
           LEFT JOIN charges c ON c.charge_id = r.charge_id AND c.reversed_by IS NULL
           WHERE (r.refusal IS NULL OR r.charge_id IS NOT NULL)
             AND (c.charge_id IS NULL OR c.net_ticks <> r.net_ticks OR c.tax_ticks <> r.tax_ticks
                  OR c.shortfall_ticks <> r.shortfall_ticks OR c.duration_ms <> r.duration_ms
                  OR c.account_id <> r.account_id OR c.currency <> r.currency)""",
    ),
    Invariant(
        "a closed call with legs that hold or pay has its records",
        "calls",
        """SELECT c.call_id FROM calls c WHERE c.state = 'closed' AND c.account_id IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM call_records r WHERE r.call_id = c.call_id)""",
    ),
    Invariant(
        "a closed call holds nothing",
        "holds",
        """SELECT h.call_id, h.leg_no, h.ticks FROM holds h WHERE
           EXISTS (SELECT 1 FROM calls c WHERE c.call_id = h.call_id AND c.state = 'closed')
           OR EXISTS (SELECT 1 FROM charges g WHERE g.call_id = h.call_id AND g.reversed_by IS NULL)""",
    ),
    Invariant(
        "a used voucher has one transfer, of its value, to the account that used it; others have none",
        "vouchers",
        """SELECT v.voucher_id, v.status, v.account_id, v.transfer_id FROM vouchers v
           JOIN voucher_batches b ON b.batch_id = v.batch_id
           LEFT JOIN transfers t ON t.transfer_id = v.transfer_id AND t.kind = 'voucher'
                AND t.key = 'voucher:' || v.voucher_id
           WHERE (v.status <> 'used' AND (v.transfer_id IS NOT NULL OR v.account_id IS NOT NULL))
              OR (v.status = 'used' AND (t.transfer_id IS NULL
                  OR b.ticks <> coalesce((SELECT sum(p.ticks) FROM postings p
                     WHERE p.transfer_id = t.transfer_id AND p.account_id = v.account_id
                       AND p.currency = b.currency), 0)
                  OR b.units <> coalesce((SELECT sum(u.units) FROM allowance_postings u
                     JOIN allowances w ON w.allowance_id = u.allowance_id
                     WHERE u.transfer_id = t.transfer_id AND w.account_id = v.account_id), 0)))""",
    ),
    Invariant(
        "a transfer of a voucher has its voucher",
        "transfers",
        """SELECT t.transfer_id, t.key FROM transfers t WHERE t.kind = 'voucher'
           AND NOT EXISTS (SELECT 1 FROM vouchers v
                           WHERE v.transfer_id = t.transfer_id AND v.status = 'used')""",
    ),
    Invariant(
        "what is forfeited went from the one account whose money expired to the house's for it, once a date",
        "transfers",
        """SELECT t.transfer_id, t.key FROM transfers t WHERE t.kind = 'forfeit'
           AND (2 <> (SELECT count(*) FROM postings p WHERE p.transfer_id = t.transfer_id)
             OR NOT EXISTS (SELECT 1 FROM postings p WHERE p.transfer_id = t.transfer_id AND p.ticks < 0
                            AND p.balance_after_ticks >= 0
                            AND t.key LIKE 'forfeit:' || p.account_id || ':%')
             OR NOT EXISTS (SELECT 1 FROM postings p JOIN accounts a ON a.account_id = p.account_id
                            WHERE p.transfer_id = t.transfer_id AND p.ticks > 0
                              AND a.kind = 'forfeited'))""",
    ),
    Invariant(
        "money with a date belongs to those who pay",
        "accounts",
        """SELECT code, kind, credit_expires_at_ms FROM accounts WHERE credit_expires_at_ms IS NOT NULL
           AND kind NOT IN ('customer', 'reseller', 'partner')""",
    ),
    *(
        Invariant(
            f"{what} is there",
            table,
            f"""SELECT t.{column}, count(*) AS missing FROM {table} t WHERE t.{column} IS NOT NULL
                AND NOT EXISTS (SELECT 1 FROM {other} o WHERE o.{column} = t.{column}) GROUP BY t.{column}""",
        )
        for what, table, column, other in _NAMED
    ),
    Invariant(
        "a call that talks has a hold",
        "calls",
        """SELECT c.call_id, c.switch, c.channel FROM calls c WHERE c.state = 'talking'
           AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.call_id = c.call_id)""",
    ),
)

_DRAWS: Final[Mapping[str, Mapping[str, str]]] = {
    # A hold's draws are stored as [[allowance_id, units], …].
    "postgresql": {
        "draws": "json_array_elements(h.draws) AS d(draw)",
        "draw_allowance": "(d.draw->>0)::bigint",
        "draw_units": "(d.draw->>1)::bigint",
    },
    "sqlite": {
        "draws": "json_each(h.draws) AS d",
        "draw_allowance": "(d.value->>0)",
        "draw_units": "(d.value->>1)",
    },
}


def check(engine: Engine) -> Iterator[Finding]:
    """Run every invariant, one finding after the other. Raises OutsideError if the database is away."""
    with reading(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        sizes: dict[str, int] = {}
        words = _DRAWS[connection.dialect.name]
        for invariant in INVARIANTS:
            if invariant.table not in sizes:
                sizes[invariant.table] = _count(connection, invariant.table)
            query = invariant.broken.format(**words) if "{" in invariant.broken else invariant.broken
            yield _finding(connection, invariant.name, query, sizes[invariant.table])
        yield _lines_add_up(connection)


def _count(connection: Connection, table: str) -> int:
    return int(connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


def _finding(connection: Connection, name: str, query: str, rows: int) -> Finding:
    shown = [dict(row._mapping) for row in connection.execute(text(f"{query} LIMIT {SHOWN}"))]
    if not shown:
        return Finding(name, ok=True, rows=rows)
    broken = int(connection.scalar(text(f"SELECT count(*) FROM ({query}) AS broken")) or 0)
    return Finding(name, ok=False, rows=broken, detail=_spell(shown))


def _spell(rows: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(" ".join(f"{name}={value}" for name, value in row.items()) for row in rows)


def _lines_add_up(connection: Connection) -> Finding:
    """The explanation of a charge adds up to it: exact amounts sum to net plus tax."""
    name = "the lines of a charge add up to it"
    columns = charges.c.charge_id, charges.c.net_ticks + charges.c.tax_ticks, charges.c.lines
    query = charges.select().with_only_columns(*columns).execution_options(yield_per=1_000)
    seen, broken = 0, 0
    shown: list[dict[str, Any]] = []
    for charge_id, total, lines in connection.execute(query):
        seen += 1
        by_denominator: dict[str, int] = {}
        for line in lines:
            numerator, denominator = line["exact"].split("/")
            by_denominator[denominator] = by_denominator.get(denominator, 0) + int(numerator)
        added = sum(Fraction(n, int(d)) for d, n in by_denominator.items())
        if added != total:
            broken += 1
            if len(shown) < SHOWN:
                shown.append({"charge_id": charge_id, "total": total, "lines": added})
    if broken:
        return Finding(name, ok=False, rows=broken, detail=_spell(shown))
    return Finding(name, ok=True, rows=seen)
