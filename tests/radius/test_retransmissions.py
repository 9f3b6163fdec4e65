"""Copies of requests: which they are, what they get, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radius.retransmissions import Pending, Retransmissions

A, B = b"a" * 16, b"b" * 16


def memory(keep_ms: int = 30_000, most: int = 100) -> Retransmissions:
    return Retransmissions(keep_ms=keep_ms, most=most)


def begun(kept: Retransmissions, key: object, authenticator: bytes, now_ms: int = 0) -> Pending:
    pending = kept.begin(key, authenticator, now_ms)
    assert isinstance(pending, Pending)
    return pending


def test_a_copy_of_a_request_in_progress_waits_for_its_answer() -> None:
    kept = memory()
    pending = begun(kept, "k", A)
    assert kept.begin("k", A, 1) is None
    assert kept.answered(pending, b"yes", 2)
    assert kept.begin("k", A, 3) == b"yes"


@pytest.mark.parametrize(
    ("key", "authenticator"),
    [
        (("10.0.0.2", 1000, 7), A),
        (("10.0.0.1", 1001, 7), A),
        (("10.0.0.1", 1000, 8), A),
        (("10.0.0.1", 1000, 7), B),
    ],
    ids=["another address", "another port", "another identifier", "another authenticator"],
)
def test_what_differs_in_anything_is_a_new_request(key: object, authenticator: bytes) -> None:
    kept = memory()
    assert kept.answered(begun(kept, ("10.0.0.1", 1000, 7), A), b"yes", 0)
    begun(kept, key, authenticator)


@pytest.mark.parametrize(("at_ms", "copy"), [(1_000, True), (30_999, True), (31_000, False)])
def test_an_answer_is_kept_for_its_time_from_when_it_was_given(at_ms: int, copy: bool) -> None:
    kept = memory(keep_ms=30_000)
    kept.answered(begun(kept, "k", A, 0), b"yes", 1_000)
    assert (kept.begin("k", A, at_ms) == b"yes") is copy


def test_who_asks_anew_with_the_same_identifier_does_not_get_the_old_answer() -> None:
    kept = memory()
    old = begun(kept, "k", A)
    new = begun(kept, "k", B)
    assert not kept.answered(old, b"old", 1)
    assert kept.begin("k", B, 2) is None, "the newer one is still in progress"
    assert kept.answered(new, b"new", 3)
    assert kept.begin("k", B, 4) == b"new"


def test_the_end_of_an_overtaken_request_leaves_the_newer_one_alone() -> None:
    kept = memory()
    old = begun(kept, "k", A)
    begun(kept, "k", B)
    kept.forget(old)
    assert kept.begin("k", B, 1) is None


def test_a_request_without_an_answer_is_new_when_it_comes_again() -> None:
    kept = memory()
    kept.forget(begun(kept, "k", A))
    begun(kept, "k", A)


def test_past_the_bound_the_oldest_answers_go() -> None:
    kept = memory(most=3)
    for number in range(5):
        kept.answered(begun(kept, number, A), b"%d" % number, number)
    assert len(kept) == 3
    assert [kept.begin(number, A, 5) for number in (2, 3, 4)] == [b"2", b"3", b"4"]
    begun(kept, 0, A)


def test_expired_answers_go_as_new_requests_come() -> None:
    kept = memory(keep_ms=1_000)
    for number in range(50):
        kept.answered(begun(kept, number, A, 0), b"", 0)
    for number in range(25):
        kept.forget(begun(kept, 1_000 + number, A, 2_000))
    assert len(kept) == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "answer", "forget", "wait"]),
        st.integers(0, 2),
        st.sampled_from([A, B]),
        st.integers(0, 700),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_it_says_what_a_list_of_everything_that_happened_says(
    steps: list[tuple[str, int, bytes, int]],
) -> None:
    kept = memory(keep_ms=1_000, most=1_000)
    now_ms = 0
    current: dict[int, tuple[bytes, bytes | None, int]] = {}  # key: authenticator, answer, answered at
    open_requests: list[tuple[Pending, int, bytes]] = []
    for number, (step, key, authenticator, ms) in enumerate(steps):
        if step == "wait":
            now_ms += ms
        elif step == "ask":
            before = current.get(key)
            said = kept.begin(key, authenticator, now_ms)
            if before is not None and before[0] == authenticator and before[1] is None:
                assert said is None
            elif before is not None and before[0] == authenticator and now_ms < before[2] + 1_000:
                assert said == before[1]
            else:
                assert isinstance(said, Pending)
                open_requests = [entry for entry in open_requests if entry[1] != key]
                open_requests.append((said, key, authenticator))
                current[key] = (authenticator, None, 0)
        elif open_requests:
            pending, of_key, of_authenticator = open_requests.pop(ms % len(open_requests))
            if step == "forget":
                kept.forget(pending)
                del current[of_key]
            else:
                assert kept.answered(pending, b"%d" % number, now_ms)
                current[of_key] = (of_authenticator, b"%d" % number, now_ms)
