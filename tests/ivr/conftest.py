from __future__ import annotations

from tests.scenarios.conftest import lab, make_lab, migrated

__all__ = ["lab", "make_lab", "migrated"]
