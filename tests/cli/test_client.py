"""How a command fetches long lists."""

from __future__ import annotations

from typing import Any

from ocs.cli.client import Client


def test_a_long_list_is_fetched_page_by_page_up_to_its_limit() -> None:
    asked: list[tuple[object, object, object]] = []

    class Paged(Client):
        def __init__(self) -> None:
            pass

        def get(self, path: str, **query: object) -> Any:
            after, size = query["after"], query["limit"]
            assert isinstance(size, int)
            asked.append((query["kind"], after, size))
            first = 0 if after is None else int(str(after)) + 1
            return {"things": [{"code": str(n)} for n in range(first, min(first + size, 2_200))]}

    found = Paged().pages("/v1/things", "things", "code", 5_000, kind="x")
    assert [thing["code"] for thing in found] == [str(n) for n in range(2_200)]
    assert asked == [("x", None, 1_000), ("x", "999", 1_000), ("x", "1999", 1_000)]
    asked.clear()
    assert len(Paged().pages("/v1/things", "things", "code", 1_500, kind="x")) == 1_500
    assert asked == [("x", None, 1_000), ("x", "999", 500)]
