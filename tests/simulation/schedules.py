"""What happens in a simulated hour? Values, drawn from a seeded Random and printable as they are."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from random import Random

from ocs.ledger.model import AccountKind
from ocs.sessions.events import Mode
from ocs.sessions.session import Policy
from tests.rating import naive

CENT = 10_000
"""Ticks."""


@dataclass(frozen=True)
class RatePlan:
    """A price: cents a minute, increments, and what goes with it; amounts in cents."""

    prefix: str
    per_minute: int
    first_s: int
    next_s: int
    fee: int = 0
    grace_s: int = 0
    minimum: int = 0
    maximum: int | None = None

    def spec(self) -> str:
        """As a sheet has it."""
        price = f"{_major(self.per_minute)}/60"
        text = f"0:{price}+{self.first_s}"
        if self.next_s != self.first_s:
            text += f",{self.first_s}:{price}+{self.next_s}"
        text += f";fee={_major(self.fee)}" if self.fee else ""
        text += f";grace={self.grace_s}" if self.grace_s else ""
        text += f";min={_major(self.minimum)}" if self.minimum else ""
        return text + (f";max={_major(self.maximum)}" if self.maximum is not None else "")

    def naive(self, tax_percent: int) -> naive.NaiveTariff:
        """As the naive rater wants it."""
        price = Fraction(self.per_minute, 100)
        steps = [(0, price, 60, self.first_s)]
        if self.next_s != self.first_s:
            steps.append((self.first_s, price, 60, self.next_s))
        return naive.NaiveTariff(
            anytime=naive.Price(tuple(steps)),
            by_band={},
            fee=Fraction(self.fee, 100),
            grace_s=self.grace_s,
            minimum=Fraction(self.minimum, 100),
            maximum=None if self.maximum is None else Fraction(self.maximum, 100),
            decimals=6,
            taxes=(Fraction(tax_percent, 100),) if tax_percent else (),
        )


def _major(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"


@dataclass(frozen=True)
class TariffPlan:
    """A tariff: a rate for each prefix, and the tax on top in percent."""

    name: str
    rates: tuple[RatePlan, ...]
    tax_percent: int = 0


@dataclass(frozen=True)
class AccountPlan:
    """Who has what at the start; cents and seconds. `units`: an allowance each."""

    code: str
    kind: AccountKind
    tariff: str
    balance: int
    parent: str = ""
    credit_limit: int = 0
    max_calls: int | None = None
    daily_limit: int | None = None
    max_call_s: int | None = None
    units: tuple[int, ...] = ()


@dataclass(frozen=True)
class CallPlan:
    """One call and what the switch tells of it; times in ms.

    talk_ms None: until it is cut. answers False: it ends after ring_ms unanswered. delay_ms: how late its
    events come; repeats: they come twice. cdr_ms: the switch's CDR comes so long after the end; None: never.
    """

    channel: str
    account: str
    destination: str
    mode: Mode
    at_ms: int
    ring_ms: int
    talk_ms: int | None
    answers: bool = True
    delay_ms: int = 0
    repeats: bool = False
    answered_is_lost: bool = False
    ended_is_lost: bool = False
    cdr_ms: int | None = 1_000
    kill_ms: int | None = None
    """An operator ends it so long after its offer."""


@dataclass(frozen=True)
class Trouble:
    """Something out of order for a while, or a deed of people. `amount` in cents.

    link: the connection drops. ledger: commits fail; half: one commit happens and its answer is lost first.
    daemon: killed, now or in the middle of the next commit (before or after it is durable). switch: it
    restarts, all calls are gone without a word. deaf: it takes no orders (moment "now": it says so, and does
    as told). slow: each commit takes `amount` ms, and is durable at the end (moment "after commit": at the
    start). blink: a listing comes too early and lacks calls. top_up, block, unblock: of an account.
    """

    kind: str
    at_ms: int
    for_ms: int = 0
    account: str = ""
    amount: int = 0
    moment: str = "now"


@dataclass(frozen=True)
class Schedule:
    """Everything that a run needs to happen the same way again."""

    seed: int
    policy: Policy
    tariffs: tuple[TariffPlan, ...]
    accounts: tuple[AccountPlan, ...]
    calls: tuple[CallPlan, ...]
    troubles: tuple[Trouble, ...]
    command_ms: int = 20
    """How long an order takes to reach the switch."""
    ahead_ms: int = 0
    """How far the switch's clock is ahead of ours."""

    def __str__(self) -> str:
        lines = [f"schedule {self.seed}: orders take {self.command_ms} ms", f"  {_short(self.policy)}"]
        for rows in (self.tariffs, self.accounts, self.calls, self.troubles):
            lines += [f"  {_short(row)}" for row in rows]
        return "\n".join(lines)


def _short(row: object) -> str:
    """A value without the fields that stand at their defaults."""
    told = []
    for each in fields(row):  # type: ignore[arg-type]
        value = getattr(row, each.name)
        if value != each.default:
            text = " ".join(_short(v) for v in value) if each.name == "rates" else str(value)
            told.append(f"{each.name}={text}")
    return f"{type(row).__name__}({', '.join(told)})"


# --- drawing ------------------------------------------------------------------------------------

INCREMENTS = ((60, 60), (30, 6), (1, 1), (6, 6))
PREFIXES = ("49", "43", "1", "44")


def draw_schedule(seed: int) -> Schedule:
    """A schedule from its seed."""
    dice = Random(seed)
    prefixes = PREFIXES[: dice.randint(1, 4)]
    tariffs = tuple(_tariff(dice, name, prefixes) for name in ("retail", "wholesale"))
    accounts = _accounts(dice)
    horizon_ms = dice.choice([60_000, 180_000, 400_000])
    customers = [one.code for one in accounts if one.kind is AccountKind.CUSTOMER]
    number = min(dice.randint(3, 25), dice.randint(3, 25))
    healthy = dice.random() < 0.25
    calls = tuple(_call(dice, f"c{n}", customers, prefixes, horizon_ms, healthy) for n in range(number))
    troubles = _deeds(dice, accounts, horizon_ms)
    later = Random(f"{seed} again")  # what came to be drawn later leaves what was drawn before as it was
    if not healthy:
        troubles += _faults(dice, horizon_ms) + _more_faults(later, horizon_ms)
    slice_ms = dice.choice([20_000, 30_000, 60_000])
    policy = Policy(
        first_slice_ms=dice.choice([10_000, slice_ms, 60_000]),
        slice_ms=slice_ms,
        lead_ms=dice.choice([3_000, 5_000, 10_000]),
        warn_before_ms=dice.choice([5_000, 30_000]),
        longest_call_ms=600_000,
        ring_timeout_ms=60_000,
        stale_ms=1_800_000,
    )
    ordered = tuple(sorted(troubles, key=lambda one: one.at_ms))
    command_ms = dice.choice([2, 20, 60])
    ahead_ms = 0 if healthy else later.choice([0, 0, 0, 0, 400, 3_000, 40_000])
    return Schedule(seed, policy, tariffs, accounts, calls, ordered, command_ms, ahead_ms)


def _tariff(dice: Random, name: str, prefixes: tuple[str, ...]) -> TariffPlan:
    rates = []
    for prefix in prefixes:
        first_s, next_s = dice.choice(INCREMENTS)
        rates.append(
            RatePlan(
                prefix,
                per_minute=dice.choice([0, 6, 7, 60, 60, 199]),
                first_s=first_s,
                next_s=next_s,
                fee=dice.choice([0, 0, 5, 30]),
                grace_s=dice.choice([0, 0, 0, 4]),
                minimum=dice.choice([0, 0, 0, 25]),
                maximum=dice.choice([None, None, None, 100]),
            )
        )
    return TariffPlan(name, tuple(rates), dice.choice([0, 0, 7, 19]))


def _accounts(dice: Random) -> tuple[AccountPlan, ...]:
    made = []
    above = ""
    if dice.random() < 0.4:
        above = "top"
        kind, money = AccountKind.RESELLER, dice.choice([100, 500, 100_000])
        made.append(AccountPlan(above, kind, "wholesale", money, credit_limit=dice.choice([0, 200])))
    for number in range(dice.randint(1, 4 - len(made))):
        made.append(
            AccountPlan(
                f"cust{number}",
                AccountKind.CUSTOMER,
                "retail",
                balance=dice.choice([0, 1, 30, 75, 150, 500, 20_000]),
                parent=above if dice.random() < 0.6 else "",
                credit_limit=dice.choice([0, 0, 0, 50, 300]),
                max_calls=dice.choice([None, None, None, 1, 2, 5]),
                daily_limit=dice.choice([None, None, None, None, 120]),
                max_call_s=dice.choice([None, None, None, 90]),
                units=tuple(dice.choice([10, 60, 200]) for _ in range(dice.choice([0, 0, 1, 2]))),
            )
        )
    return tuple(made)


def _call(
    dice: Random,
    channel: str,
    customers: list[str],
    prefixes: tuple[str, ...],
    horizon_ms: int,
    healthy: bool,
) -> CallPlan:
    lossy = not healthy and dice.random() < 0.4
    return CallPlan(
        channel=channel,
        account=dice.choice(customers),
        destination=dice.choice(prefixes) + "5550123",
        mode=Mode.WATCH if dice.random() < 0.25 else Mode.AUTHORISE,
        at_ms=dice.randrange(horizon_ms),
        ring_ms=dice.randint(0, 15_000),
        talk_ms=None if dice.random() < 0.25 else int(min(dice.expovariate(1 / 45_000), 500_000)),
        answers=dice.random() < 0.85,
        delay_ms=dice.choice([0, 0, 5, 900]),
        repeats=dice.random() < 0.2,
        answered_is_lost=lossy and dice.random() < 0.4,
        ended_is_lost=lossy and dice.random() < 0.5,
        cdr_ms=None if dice.random() < 0.4 else dice.choice([10, 1_000, 20_000, 100_000]),
        kill_ms=dice.randint(0, 60_000) if dice.random() < 0.05 else None,
    )


def _deeds(dice: Random, accounts: tuple[AccountPlan, ...], horizon_ms: int) -> tuple[Trouble, ...]:
    deeds = []
    for account in accounts:
        for _ in range(dice.choice([0, 0, 1, 2])):
            at_ms, amount = dice.randrange(horizon_ms + 60_000), dice.choice([1, 20, 100])
            deeds.append(Trouble("top_up", at_ms, account=account.code, amount=amount))
        if dice.random() < 0.1:
            at_ms = dice.randrange(horizon_ms)
            deeds.append(Trouble("block", at_ms, account=account.code))
            if dice.random() < 0.5:
                deeds.append(Trouble("unblock", at_ms + dice.randrange(60_000), account=account.code))
    return tuple(deeds)


def _faults(dice: Random, horizon_ms: int) -> tuple[Trouble, ...]:
    kinds = ("link", "link", "ledger", "half", "daemon", "daemon", "switch", "blink")
    return tuple(
        Trouble(
            dice.choice(kinds),
            dice.randrange(horizon_ms + 30_000),
            for_ms=dice.choice([500, 3_000, 15_000, 60_000, 150_000]),
            moment=dice.choice(["now", "before commit", "after commit"]),
        )
        for _ in range(dice.choice([0, 1, 1, 2, 4]))
    )


def _more_faults(dice: Random, horizon_ms: int) -> tuple[Trouble, ...]:
    return tuple(
        Trouble(
            dice.choice(("deaf", "slow")),
            dice.randrange(horizon_ms + 30_000),
            for_ms=dice.choice([500, 3_000, 15_000, 60_000]),
            amount=dice.choice([200, 2_000, 7_000]),
            moment=dice.choice(["now", "before commit", "after commit"]),
        )
        for _ in range(dice.choice([0, 0, 1, 2]))
    )
