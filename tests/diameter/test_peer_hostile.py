"""Whatever a peer sends: no crash, no spin, nothing left behind, and others are served meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

import gevent
import pytest

from switch_adapters.diameter import names
from switch_adapters.diameter.config import Limits
from tests.diameter.peers import Caller, Site, settle, until
from tests.diameter.recordings import RECORDINGS, messages

Mutation = Callable[[random.Random, bytearray], None]


def flip_bits(dice: random.Random, data: bytearray) -> None:
    for _ in range(dice.randint(1, 6)):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def cut_out(dice: random.Random, data: bytearray) -> None:
    at = dice.randrange(len(data))
    del data[at : at + dice.randint(1, 40)]


def put_in(dice: random.Random, data: bytearray) -> None:
    at = dice.randrange(len(data))
    data[at:at] = dice.randbytes(dice.randint(1, 40))


def lie_about_a_length(dice: random.Random, data: bytearray) -> None:
    at = dice.randrange(0, len(data) - 4, 4)
    data[at + 1 : at + 4] = dice.choice(
        (0, 4, 8, 20, 24, 0xFFFC, 0xFFFFFF, dice.randrange(1 << 24))
    ).to_bytes(3)


def swap_words(dice: random.Random, data: bytearray) -> None:
    one, two = (dice.randrange(0, len(data) - 4, 4) for _ in range(2))
    data[one : one + 4], data[two : two + 4] = data[two : two + 4], data[one : one + 4]


MUTATIONS: list[Mutation] = [flip_bits, cut_out, put_in, lie_about_a_length, swap_words]
RECORDED = [one.raw for name in RECORDINGS for one in messages(name)]


@pytest.mark.parametrize("mutate", MUTATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_what_is_broken_harms_nobody_else(mutate: Mutation, seed: int, quiet: None) -> None:
    dice = random.Random(f"{mutate.__name__} {seed}")
    ours = Site(limits=Limits(strangers_per_address=1_000, strangers=1_000, connections_per_host=1_000))
    good = Caller(ours.server, "good.lab.test")
    good.meet()
    bad: list[Caller] = []
    for number in range(60):
        peer = Caller(ours.server)
        bad.append(peer)
        if number % 3:
            peer.send(peer.cer())
        said = bytearray(b"".join(dice.choices(RECORDED, k=dice.randint(1, 4))))
        mutate(dice, said)
        with suppress(ConnectionError):
            peer.send(bytes(said))
        settle()
        good.send(good.ccr(number, session=f"{seed} {number}"))
        with gevent.Timeout(5):
            while (heard := good.hear()).hop_by_hop != number:
                pass
        assert heard.u32(names.RESULT_CODE) == 2001
    assert not [what for what in ours.counts.seen if "fault" in what]
    for peer in bad:
        peer.close()
    until(lambda: ours.server.connections == 1)
    assert ours.server.in_progress == 0
    ours.stop()


def test_a_thousand_that_come_and_go_leave_nothing_behind(quiet: None) -> None:
    ours = Site()
    for number in range(1_000):
        peer = Caller(ours.server, f"kam{number}.evil.test")
        if number % 2:
            peer.send(peer.cer(realm="evil.test"))
        peer.close()
    until(lambda: ours.server.connections == 0)
    assert ours.server.peers == []
    assert ours.server._strangers == {}
    assert ours.server._meeting._elected == {}
    ours.stop()
