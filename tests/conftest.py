"""What all tests share: the I/O thread runs on the loop that a plain installation has."""

from __future__ import annotations

import pytest

pytest_plugins = ["asyncblock.testing.plugin"]


@pytest.fixture(autouse=True)
def standard_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave uvloop, which the tests have installed, to the tests that are about it."""
    monkeypatch.setenv("ASYNCBLOCK_LOOP", "asyncio")
