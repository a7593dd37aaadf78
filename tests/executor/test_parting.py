"""Large values are freed a little at a time, and only what nobody else holds."""

from __future__ import annotations

import weakref
from typing import Any

from asyncblock.executor.parting import part_with


class Leaf:
    """Something whose end can be seen."""


def test_what_nobody_holds_is_freed_to_the_last() -> None:
    ends = []

    def leaf() -> Leaf:
        made = Leaf()
        ends.append(weakref.ref(made))
        return made

    values: list[Any] = [{"rows": [[leaf(), {"x": leaf()}] for _ in range(2000)]}, [], {}, "text", leaf()]
    part_with(values)
    assert values == []
    assert len(ends) == 4001
    assert not any(end() for end in ends)


def test_what_somebody_holds_stays_whole_at_any_depth() -> None:
    inner = [[1, 2], {"a": [3]}]
    outer = {"kept": [4, 5]}
    part_with([{"a": {"b": [inner] * 2}}, outer, [outer["kept"]]])
    assert inner == [[1, 2], {"a": [3]}]
    assert outer == {"kept": [4, 5]}
