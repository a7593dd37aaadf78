"""What JSON holds, compared with a type."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from asyncblock.wire.checking import checker
from asyncblock.wire.fields import Announcement, LiveAttempt, PlanFields, Replaced

PLAN = {"version": 1, "title": "t", "path": None, "inputs_def": [], "nodes": [], "outputs": {}}
NODE = {"node_id": "n", "kind": "task", "inputs": {}}


@pytest.mark.parametrize(
    ("hint", "value", "path"),
    [
        (int, 1, None),
        (int, True, ""),
        (int, 1.0, ""),
        (float, 1, None),
        (float, False, ""),
        (str | None, None, None),
        (str | None, 7, ""),
        (Literal["a", 1], 1, None),
        (Literal["a", 1], True, ""),
        (list[int], [1, 2], None),
        (list[Any], [1, "a"], None),
        (dict[str, int], 7, ""),
        (list[int], [1, "2"], "[1]"),
        (dict[str, int], {"a": 1.5}, "['a']"),
        (tuple[int, str], [1, "a"], None),
        (tuple[int, str], [1], ""),
        (tuple[int, str], [1, 2], "[1]"),
        (Announcement, {"later": 1}, None),
        (Announcement, {"slots": {"async": True}}, "slots.async"),
        (Announcement, {"packages": {"h": 7}}, "packages['h']"),
        (Replaced, {}, "link"),
        (Replaced, {"link": "l", "before": [{"link": 3}]}, "before[0].link"),
        (LiveAttempt, ["j", 1, None, [[0, 1]]], None),
        (LiveAttempt, ["j", 1, [[0]], []], "[2][0]"),
        (PlanFields, PLAN, None),
        (PlanFields, {**PLAN, "nodes": [NODE]}, None),
        (PlanFields, {**PLAN, "nodes": [{**NODE, "slots": {"s": {**NODE, "kind": "x"}}}]}, "nodes[0].slots['s'].kind"),
        (PlanFields, {**PLAN, "flows": {"f": PLAN | {"outputs": {"o": [[3, "h"]]}}}}, "flows['f'].outputs['o'][0][0]"),
    ],
)  # fmt: skip
def test_a_value_fits_or_the_place_is_named(hint: Any, value: Any, path: str | None) -> None:
    check = checker(hint)
    assert check is not None
    found = check(value)
    assert (None if found is None else found.path) == path
    assert found is None or found.wanted


def test_anything_needs_no_check() -> None:
    assert checker(Any) is None
