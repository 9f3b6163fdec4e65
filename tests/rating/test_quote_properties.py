"""Random tariffs against a naive oracle; price and reach against each other."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ocs.money import tick_decimals
from ocs.rating.book import FxRate
from ocs.rating.model import Allowance
from ocs.rating.pricing.quote import Quote
from ocs.rating.rate import Rate, Step, format_price, format_spec
from tests.rating import make, naive

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun", "holiday"]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]
HOUR_MS = 3_600_000

prices = st.one_of(
    st.just(0),
    st.integers(0, 100).map(lambda cents: cents * 10**8),
    st.integers(0, 10**10),
)


@st.composite
def step_lists(draw: st.DrawFn) -> tuple[Step, ...]:
    starts = sorted({0, *draw(st.lists(st.integers(1, 400), max_size=3))})
    return tuple(
        Step(
            start,
            draw(prices),
            draw(st.sampled_from([1, 7, 60, 3600])),
            draw(st.sampled_from([1, 6, 10, 30, 60, 97])),
        )
        for start in starts
    )


class Case(NamedTuple):
    quote: Quote
    oracle: naive.NaiveTariff
    allowances: tuple[Allowance, ...]

    def cost(self, duration_ms: int) -> int:
        return self.quote.cost(duration_ms, self.allowances)[0]

    def naive_total(self, duration_ms: int) -> Fraction:
        net, tax, _ = naive.costs(self.oracle, self.quote.answered_at_ms, duration_ms, self.allowances)
        return (net + tax) * 10**self.oracle.tick_decimals


def naive_price(steps: tuple[Step, ...]) -> naive.Price:
    return naive.Price(tuple((s.from_s, Fraction(s.price, 10**10), s.per_s, s.increment_s) for s in steps))


@st.composite
def allowance_lists(draw: st.DrawFn, at_ms: int) -> tuple[Allowance, ...]:
    return tuple(
        Allowance(
            allowance_id=number,
            units=draw(st.integers(0, 200)),
            priority=draw(st.integers(0, 1)),
            expires_at_ms=draw(st.sampled_from([None, at_ms + 1, at_ms + HOUR_MS])),
            sequence=draw(st.integers(0, 2)),
            increment_s=draw(st.sampled_from([1, 1, 30, 60])),
            covers_connect_fee=draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, 3)))
    )


@st.composite
def cases(draw: st.DrawFn, *, banded: bool | None = None) -> Case:
    steps = draw(step_lists())
    fee = draw(st.one_of(st.just(0), prices))
    minimum = draw(st.one_of(st.just(0), prices))
    maximum = draw(st.one_of(st.none(), prices.map(lambda price: price + minimum)))
    ends = draw(st.booleans()) and maximum is not None
    rate = Rate(
        steps,
        fee=fee,
        grace_s=draw(st.sampled_from([0, 0, 1, 5, 65])),
        min_cost=minimum,
        max_cost=maximum,
        max_ends_call=ends,
    )
    rows = [("49", "any time", format_spec(rate))]
    bands: list[dict[str, Any]] = []
    by_band: dict[str, naive.Price] = {}
    zone = draw(st.sampled_from(ZONES))
    if banded or (banded is None and draw(st.booleans())):
        for name in ("a", "b")[: draw(st.integers(1, 2))]:
            start, end = draw(st.integers(0, 1439)), draw(st.integers(0, 1440))
            days = draw(st.lists(st.sampled_from(DAYS), min_size=1, unique=True))
            bands.append(
                {
                    "name": name,
                    "from": f"{start // 60:02}:{start % 60:02}",
                    "to": f"{end // 60:02}:{end % 60:02}",
                    "days": days,
                }
            )
            if draw(st.booleans()):
                other = draw(step_lists())
                by_band[name] = naive_price(other)
                # Fee, minimum … are those of the rate at the answer: the same in every band here.
                rows.append(
                    (
                        "49",
                        name,
                        format_spec(
                            Rate(
                                other,
                                fee=fee,
                                grace_s=rate.grace_s,
                                min_cost=minimum,
                                max_cost=maximum,
                                max_ends_call=ends,
                                band=name,
                            )
                        ),
                    )
                )
    base, payer = draw(st.sampled_from([("EUR", "EUR"), ("USD", "EUR"), ("USD", "JPY"), ("EUR", "KWD")]))
    fx = "1" if base == payer else draw(st.sampled_from(["0.92137", "1.5", "156.0401", "0.0000307"]))
    taxes = draw(st.lists(st.integers(0, 400_000), max_size=2))
    terms = {
        "currency": base,
        "zone": zone,
        "bands": bands,
        "holidays": draw(st.sampled_from([[], ["03-29", "2026-10-24"]])),
        "decimals": draw(st.integers(0, 8)),
        "rounding": draw(st.sampled_from(["up", "down", "half-up", "half-even"])),
        "duration": draw(st.sampled_from(["ceil", "floor", "half-up"])),
        "tax_included": draw(st.booleans()),
        "tax": [
            {"name": f"tax {number}", "percent": f"{parts // 10_000}.{parts % 10_000:04}"}
            for number, parts in enumerate(taxes)
        ],
    }
    around = draw(
        st.sampled_from(
            [make.ms("2026-03-28 20:00"), make.ms("2026-10-24 20:00"), make.ms("2026-07-01 12:00")]
        )
    )
    at_ms = around + draw(st.integers(0, 24 * 3_600_000))
    got = make.book(make.tariff(rows, **terms), fx=[FxRate(base, payer, 0, fx)]).quote(
        "retail", "4915112345", "43", at_ms, payer
    )
    assert isinstance(got, Quote)
    oracle = naive.NaiveTariff(
        anytime=naive_price(steps),
        by_band=by_band,
        bands=tuple((b["name"], _minutes(b["from"]), _minutes(b["to"]), frozenset(b["days"])) for b in bands),
        holidays=frozenset(terms["holidays"]),
        zone=zone,
        fee=Fraction(fee, 10**10),
        grace_s=rate.grace_s,
        minimum=Fraction(minimum, 10**10),
        maximum=None if maximum is None else Fraction(maximum, 10**10),
        duration=terms["duration"],
        rounding=terms["rounding"],
        decimals=terms["decimals"],
        taxes=tuple(Fraction(parts, 1_000_000) for parts in taxes),
        tax_included=terms["tax_included"],
        fx=Fraction(fx),
        tick_decimals=tick_decimals(payer),
    )
    return Case(got, oracle, draw(allowance_lists(at_ms)))


def _minutes(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])


lengths = st.one_of(
    st.integers(0, 5000), st.integers(0, 900).map(lambda seconds: seconds * 1000), st.integers(0, 900_000)
)


@settings(max_examples=400, deadline=None)
@given(case=cases(), duration_ms=lengths)
def test_cost_is_what_counting_second_by_second_gives(case: Case, duration_ms: int) -> None:
    net, tax, drawn = naive.costs(case.oracle, case.quote.answered_at_ms, duration_ms, case.allowances)
    total, draws = case.quote.cost(duration_ms, case.allowances)
    assert total == (net + tax) * 10**case.oracle.tick_decimals
    assert {draw.allowance_id: draw.units for draw in draws} == drawn
    charge = case.quote.charge(duration_ms, case.allowances)
    assert charge.tax_ticks == tax * 10**case.oracle.tick_decimals
    assert (charge.total_ticks, charge.draws) == (total, draws)


@settings(max_examples=300, deadline=None)
@given(case=cases(), duration_ms=lengths)
def test_lines_of_a_charge_add_up_to_its_net_and_its_tax(case: Case, duration_ms: int) -> None:
    charge = case.quote.charge(duration_ms, case.allowances)
    assert charge.lines
    exact = {True: Fraction(0), False: Fraction(0)}
    for line in charge.lines:
        exact[line.kind in ("tax", "tax_rounding")] += Fraction(line.exact_num, line.exact_den)
    assert exact == {False: charge.net_ticks, True: charge.tax_ticks}
    covered = [line for line in charge.lines if line.to_s and line.kind in ("allowance", "usage")]
    assert all(before.to_s == after.from_s for before, after in pairwise(covered))


@settings(max_examples=300, deadline=None)
@given(case=cases(), one_ms=lengths, other_ms=lengths)
def test_a_longer_call_never_costs_less_nor_draws_less(case: Case, one_ms: int, other_ms: int) -> None:
    shorter, longer = sorted((one_ms, other_ms))
    cost, draws = case.quote.cost(shorter, case.allowances)
    later_cost, later_draws = case.quote.cost(longer, case.allowances)
    assert cost <= later_cost
    assert sum(draw.units for draw in draws) <= sum(draw.units for draw in later_draws)


@settings(max_examples=400, deadline=None)
@given(
    case=cases(),
    funds=st.one_of(st.integers(0, 10**5), st.integers(0, 10**7), st.integers(0, 10**9)),
    cap_ms=st.integers(1, 2_000_000),
)
def test_reach_is_the_last_millisecond_that_the_funds_cover(case: Case, funds: int, cap_ms: int) -> None:
    reach = case.quote.reach(funds, cap_ms, case.allowances)
    assert 0 <= reach <= cap_ms
    assert case.cost(reach) <= funds
    if reach == cap_ms or case.quote.match.rate.max_ends_call:
        return
    if reach == 0:
        # Nothing is granted unless the first charged increment is covered.
        assert case.cost((case.oracle.grace_s + 1) * 1000) > funds
    else:
        assert case.cost(reach + 1) > funds


@settings(max_examples=300, deadline=None)
@given(case=cases(), duration_ms=st.integers(1, 900_000))
def test_the_cost_of_a_call_reaches_to_its_end_and_one_tick_less_does_not(
    case: Case, duration_ms: int
) -> None:
    cost = case.cost(duration_ms)
    assume(not case.quote.match.rate.max_ends_call)
    reach = case.quote.reach(cost, 10**7, case.allowances)
    if cost > 0 or case.quote.billable_s(duration_ms) > case.oracle.grace_s:
        assert reach >= duration_ms
    if cost > 0:
        assert case.quote.reach(cost - 1, 10**7, case.allowances) < duration_ms


@settings(max_examples=200, deadline=None)
@given(case=cases(), funds=st.integers(0, 10**8))
def test_a_call_that_ends_at_its_maximum_reaches_the_last_second_within_it(case: Case, funds: int) -> None:
    assume(case.quote.match.rate.max_ends_call)
    assert case.oracle.maximum is not None
    reach = case.quote.reach(funds, 10**6, case.allowances)
    uncapped = naive.NaiveTariff(
        **{
            **{name: getattr(case.oracle, name) for name in naive.NaiveTariff.__dataclass_fields__},
            "maximum": None,
            "rounding": "up",
            "decimals": 10,
            "tick_decimals": 10,
            "fx": Fraction(1),
            "taxes": (),
        }
    )

    def exact(duration_ms: int) -> Fraction:
        return naive.costs(uncapped, case.quote.answered_at_ms, duration_ms, case.allowances)[0]

    ceiling = naive.rounded(case.oracle.maximum, 10, "up")
    assert exact(reach) <= ceiling
    if 0 < reach < 10**6:
        assert exact(reach + 1) > ceiling or case.cost(reach + 1) > funds


@settings(max_examples=200, deadline=None)
@given(case=cases(), cuts=st.lists(st.integers(1, 600_000), min_size=1, max_size=8))
def test_slicing_never_changes_the_sum(case: Case, cuts: list[int]) -> None:
    held = 0
    taken = 0
    for until_ms in sorted(cuts):
        cost, _ = case.quote.cost(until_ms, case.allowances)
        taken += cost - held
        held = cost
    assert taken == case.cost(max(cuts))
    assert taken == case.naive_total(max(cuts))


@given(units=st.integers(0, 10**16))
def test_a_price_is_read_back_as_it_was_written(units: int) -> None:
    from ocs.rating.rate import parse_price

    assert parse_price(format_price(units)) == units
