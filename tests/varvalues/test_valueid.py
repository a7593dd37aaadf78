"""Names of files of var values: one of another host, or of another value, is refused."""

from __future__ import annotations

import pytest

from asyncblock.errors import LocalProtocolError
from asyncblock.varvalues.depot import Depot

from . import ID, VALUE


@pytest.mark.parametrize(
    "name",
    ["", "x", "../../etc/passwd", "m.../etc.passwd", "/etc/passwd", "m.v-1-00000000.0000000000000000-0000000000000000"],
)
def test_names_that_no_file_of_this_host_has_are_refused(depot: Depot, name: str) -> None:
    with pytest.raises(LocalProtocolError, match="var value"):
        depot.load(name, ID)


def test_a_file_with_another_value_is_refused(depot: Depot) -> None:
    name, _, _ = depot.save(VALUE, ID, VALUE.nbytes, 1 << 30)
    with pytest.raises(LocalProtocolError, match="holds another value"):
        depot.load(name, ID._replace(place=1))
