"""How fast is rating, and how big? Prices, reaches, quotes and lookups a second; a deck of a million rates.

python -m tests.benchmarks.rating
"""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from db.engine import make_engine
from db.migrate import upgrade
from db.tariffs import TariffRepository
from ocs.rating.book import TariffBook
from ocs.rating.model import Allowance
from ocs.rating.pricing.quote import Quote
from ocs.rating.sheets import parse_sheet
from ocs.rating.tariff import RateTable, Tariff, VersionInfo
from ocs.rating.terms import parse_terms

DECK = 1_000_000
RUNS = 100_000
TERMS = {"currency": "EUR", "decimals": 4, "tax": [{"name": "VAT", "percent": "19"}]}
BANDED = {
    **TERMS,
    "zone": "Europe/Berlin",
    "bands": [{"name": "peak", "from": "08:00", "to": "20:00", "days": ["mon", "tue", "wed", "thu", "fri"]}],
}
NOON_MS = 1_800_000_000_000


def rows() -> list[tuple[str, str]]:
    """(what, figure), for a table."""
    return [*_pricing(), *_deck()]


def _pricing() -> Iterator[tuple[str, str]]:
    plain = _quote([("49", "Germany", "0:0.12/60+30,30:0.12/60+6;fee=0.05")], TERMS)
    banded = _quote(
        [("49", "Germany", "0:0.12/60+30,30:0.12/60+6"), ("49", "Germany", "0:0.2/60+60;band=peak")], BANDED
    )
    bundle = (Allowance(1, 40), Allowance(2, 60, priority=1, increment_s=60))
    random.seed(7)
    lengths = [random.randrange(1, 1_800_000) for _ in range(RUNS)]
    funds = [random.randrange(1, 4_000_000) for _ in range(RUNS)]
    book = TariffBook()
    book.put(plain.tariff)
    yield "prices/s (fee, 30/6, tax)", _per_s(lambda n: plain.cost(lengths[n]))
    yield "prices/s with two allowances", _per_s(lambda n: plain.cost(lengths[n], bundle))
    yield "prices/s with time bands", _per_s(lambda n: banded.cost(lengths[n]))
    yield "reaches/s (fee, 30/6, tax)", _per_s(lambda n: plain.reach(funds[n], 3_600_000))
    yield "reaches/s with two allowances", _per_s(lambda n: plain.reach(funds[n], 3_600_000, bundle))
    yield "reaches/s with time bands", _per_s(lambda n: banded.reach(funds[n], 3_600_000))
    yield "quotes/s", _per_s(lambda n: book.quote("deck", "4930123456", "43", NOON_MS, "EUR"))
    yield "explained charges/s", _per_s(lambda n: plain.charge(lengths[n]), RUNS // 5)


def _quote(rates: list[tuple[str, str, str]], terms: dict[str, object]) -> Quote:
    info = VersionInfo(1, "deck", 1, "EUR", 0, terms)
    book = TariffBook()
    book.put(Tariff(info, parse_terms(terms), RateTable(rates)))
    quote = book.quote("deck", "4930123456", "43", NOON_MS, "EUR")
    assert isinstance(quote, Quote)
    return quote


def _per_s(run: Callable[[int], object], times: int = RUNS) -> str:
    start = time.perf_counter()
    for number in range(times):
        run(number)
    return f"{times / (time.perf_counter() - start):,.0f}"


def deck_lines(count: int) -> Iterator[str]:
    """A wholesale deck: prefixes of 6 to 9 digits, some 20,000 different prices."""
    yield "prefix,name,price,increment,connect_fee\n"
    random.seed(11)
    increments = ["1/1", "60/60", "30/6", "60/1"]
    for number in range(count):
        prefix = str(1_000_000 + number * 9 if number % 3 else 100_000_000 + number * 899)
        price = random.randrange(20_000) / 100_000
        yield f"{prefix},Destination {number // 50},{price:.5f},{increments[number % 4]},\n"


def _deck() -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as home:
        url = f"sqlite:///{Path(home) / 'deck.db'}"
        upgrade(url)
        terms = parse_terms(TERMS)
        start = time.perf_counter()
        sheet = parse_sheet(deck_lines(DECK), terms)
        assert not sheet.errors, sheet.errors[:3]
        yield f"read a sheet of {DECK:,} rates", f"{time.perf_counter() - start:.1f} s"
        engine = make_engine(url)
        start = time.perf_counter()
        TariffRepository(engine).add_version(
            "deck", terms.source, sheet.rows, effective_from_ms=0, imported_at_ms=0
        )
        engine.dispose()
        yield "write it (SQLite)", f"{time.perf_counter() - start:.1f} s"
        output = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.rating", "--load", url],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        yield from ((what, figure) for what, figure in json.loads(output))


def _load(url: str) -> Iterator[tuple[str, str]]:
    """In a process of its own, so that its memory is the deck's."""
    repository = TariffRepository(make_engine(url))
    (info,) = repository.versions()
    gc.collect()
    before_kb = _resident_kb()
    start = time.perf_counter()
    tariff = repository.load(info)
    took_s = time.perf_counter() - start
    gc.collect()
    book = TariffBook()
    book.put(tariff)
    yield f"load {info.rate_count:,} rates (SQLite)", f"{took_s:.1f} s"
    yield "memory of the deck", f"{(_resident_kb() - before_kb) / 1024:.0f} MiB"
    random.seed(13)
    numbers = [f"{random.randrange(1_000_000, 999_999_999)}1234" for _ in range(RUNS)]
    start = time.perf_counter()
    for number in numbers:
        next(tariff.rates.along(number), None)
    yield "longest-prefix lookups/s in it", f"{RUNS / (time.perf_counter() - start):,.0f}"
    yield "quotes/s in it", _per_s(lambda n: book.quote("deck", numbers[n], "43", NOON_MS, "EUR"))


def _resident_kb() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def main() -> None:
    """Print the table; with `--load URL`, the figures of a deck as JSON."""
    if sys.argv[1:2] == ["--load"]:
        print(json.dumps(list(_load(sys.argv[2]))))
        return
    for what, figure in rows():
        print(f"{what:<40} {figure:>14}")


if __name__ == "__main__":
    main()
