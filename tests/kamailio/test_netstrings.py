from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switch_adapters.kamailio.netstrings import BadNetstring, NetstringReader, encode


@given(st.lists(st.binary(max_size=40), max_size=10), st.lists(st.integers(1, 9), max_size=60))
def test_whatever_the_chunks_what_was_sent_is_what_is_read(contents: list[bytes], sizes: list[int]) -> None:
    reader, stream, read = NetstringReader(), b"".join(map(encode, contents)), []
    for size in sizes:
        read += reader.feed(stream[:size])
        stream = stream[size:]
    read += reader.feed(stream)
    assert read == contents
    assert not reader.inside


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_read_or_refused_with_a_word(data: bytes) -> None:
    try:
        contents, reason = NetstringReader(limit=50).feed(data), ""
    except BadNetstring as fault:
        contents, reason = [], fault.reason
    assert reason in ("", "length", "oversized", "comma")
    assert all(len(content) <= 50 for content in contents)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"x", "length"), (b":", "length"), (b"-1:", "length"), (b"03:abc,", "length"), (b"1 :a,", "length"),
        (b"3:abcd", "comma"), (b"101:", "oversized"), (b"1234", "oversized"), (b"99999999999", "oversized"),
        (b"\xb2:ab,", "length"),
    ],
)  # fmt: skip
def test_what_is_no_netstring_ends_the_reading(data: bytes, reason: str) -> None:
    with pytest.raises(BadNetstring) as told:
        NetstringReader(limit=100).feed(data)
    assert told.value.reason == reason


@pytest.mark.parametrize("data", [b"", b"1", b"100", b"100:", b"3:abc", b"0:"])
def test_what_may_become_one_is_waited_for(data: bytes) -> None:
    reader = NetstringReader(limit=100)
    assert reader.feed(data) == []
    assert reader.inside == bool(data)


def test_the_longest_is_taken_and_one_byte_more_is_not() -> None:
    assert NetstringReader(limit=10).feed(encode(b"x" * 10)) == [b"x" * 10]
    with pytest.raises(BadNetstring):
        NetstringReader(limit=10).feed(b"11:")
