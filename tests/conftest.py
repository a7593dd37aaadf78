"""What all tests share: the I/O thread runs on the loop that a plain installation has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["asyncblock.testing.plugin"]


@pytest.fixture(autouse=True)
def standard_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave uvloop, which the tests have installed, to the tests that are about it."""
    monkeypatch.setenv("ASYNCBLOCK_LOOP", "asyncio")


@pytest.fixture(scope="session", autouse=True)
def state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what commands and failed runs leave behind out of this user's directories."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("state")
        patch.setenv("XDG_STATE_HOME", str(home))
        yield home
