from __future__ import annotations

from typing import Any

import pytest

from asyncblock.flow.conditions import OPERATORS, decide

HOLDS: list[tuple[Any, str, Any]] = [
    (1, "==", 1), ("a", "!=", "b"), (2, ">", 1), (1, "<", 2), (2, ">=", 2), (2, "<=", 2.5),
    (None, "is null", None), (0, "is not null", None), (True, "is true", None), (False, "is false", None),
    ("abc", "contains", "b"), ([1, 2], "contains", 2), ("abc", "not contains", "x"), ([], "not contains", 1),
    ("", "is empty", None), ({}, "is empty", None), ([0], "is not empty", None),
    (1, "in", [1, 2]), ("a", "in", "abc"), (3, "not in", [1]),
    ({"a": 1}, "has key", "a"), ({"a": 1}, "not has key", "b"), ({"a": 1}, "has value", 1),
    ({"a": 1}, "not has value", 2), ("abc", "starts with", "ab"), ("abc", "ends with", "bc"),
]  # fmt: skip
FAILS: list[tuple[Any, str, Any]] = [
    ("2", ">", 1), (True, ">", 0), (None, "<", 1), (1, "is true", None), (0, "is empty", None),
    (5, "contains", 5), (5, "not contains", 1), (1, "in", 5), (1, "not in", 5), ([], "has key", "a"),
    (1, "starts with", "1"), ("abc", "no such operator", 1),
]  # fmt: skip


def case(handle: str, *expressions: tuple[str, str, Any], logical: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {
        "handle": handle,
        "expressions": [{"input_handle": i, "operator": o, "value": v} for i, o, v in expressions],
    }
    if logical:
        made["logical"] = logical
    return made


@pytest.mark.parametrize(("left", "operator", "right"), HOLDS)
def test_operators_hold(left: Any, operator: str, right: Any) -> None:
    assert decide([case("yes", ("x", operator, right))], None, {"x": left}) == "yes"


@pytest.mark.parametrize(("left", "operator", "right"), FAILS)
def test_operators_on_wrong_types_do_not_hold(left: Any, operator: str, right: Any) -> None:
    assert decide([case("yes", ("x", operator, right))], None, {"x": left}) is None


def test_every_operator_has_an_example() -> None:
    assert {operator for _, operator, _ in HOLDS} == set(OPERATORS)


def test_the_first_case_that_holds_wins_and_else_the_default() -> None:
    cases = [
        case("small", ("x", "<", 10), ("x", ">", 0), logical="AND"),
        case("odd", ("x", "==", 11), ("x", "==", 13)),
        case("never"),
    ]
    assert [decide(cases, {"handle": "other"}, {"x": x}) for x in (5, 13, -1)] == ["small", "odd", "other"]
    assert decide(cases, None, {"x": 50}) is None
