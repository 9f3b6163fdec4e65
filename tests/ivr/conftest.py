from __future__ import annotations

from tests.scenarios.conftest import lab, make_lab

__all__ = ["lab", "make_lab"]
