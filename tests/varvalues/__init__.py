"""A value, its id, and the files that are there of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from asyncblock.varvalues.depot import Depot
from asyncblock.varvalues.valueid import ValueId

__all__ = ["ID", "OTHER", "VALUE", "files", "saved_on_the_disk_too"]

ID = ValueId("s", "s.1", 1, 0)
OTHER = ValueId("t", "t.1", 1, 0)
VALUE = np.arange(1000)


def files(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "host"]


def saved_on_the_disk_too(depot: Depot, tmp_path: Path) -> None:
    for id in (ID, ID._replace(place=1), OTHER):
        depot.save(VALUE, id, VALUE.nbytes, 1 << 30 if id.place else 100)
    assert len(files(tmp_path)) == 3
