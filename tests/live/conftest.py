"""One site for all live tests: starting FreeSWITCH takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.installed import PREFIX
from tests.live.site import Site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if not PREFIX:
        pytest.skip("OCS_TEST_FREESWITCH names no installed FreeSWITCH")
    made = Site(tmp_path_factory.mktemp("site"))
    try:
        made.start()
        yield made
    finally:
        made.close()
