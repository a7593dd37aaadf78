"""A value that is only in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from asyncblock.varvalues.depot import Depot
from asyncblock.varvalues.filed import Filed, loaded

from . import ID, VALUE, files


def test_each_load_is_a_value_of_its_own_as_it_was_put_out(depot: Depot, tmp_path: Path) -> None:
    filed = depot.spill(VALUE, ID, VALUE.nbytes)
    assert isinstance(filed, Filed) and not filed.in_memory
    first = loaded(filed)
    first[:] = 7
    assert np.array_equal(loaded(filed), VALUE)
    filed.remove()
    assert files(tmp_path) == []
    # What was mapped stays readable without its file.
    assert first[0] == 7


def test_what_is_kept_itself_is_what_it_is() -> None:
    assert loaded(VALUE) is VALUE
