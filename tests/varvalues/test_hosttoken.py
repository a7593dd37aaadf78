"""The token of a directory: a process that reads another one is of another host."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncblock.varvalues.depot import MEMORY, Depot


def test_other_directories_are_other_hosts(depot: Depot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv(MEMORY, str(tmp_path / "elsewhere"))
    other = Depot()
    other.open()
    assert other.host not in (None, depot.host)
    other.close()
