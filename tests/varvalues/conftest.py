"""A depot in directories of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncblock.varvalues.depot import MEMORY, Depot


@pytest.fixture(autouse=True)
def directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MEMORY, str(tmp_path / "memory"))
    monkeypatch.setenv("ASYNCBLOCK_BODIES_DIR", str(tmp_path / "disk"))
    (tmp_path / "memory").mkdir()


@pytest.fixture
def depot() -> Iterator[Depot]:
    made = Depot()
    made.open()
    yield made
    made.close()
