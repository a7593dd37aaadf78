from __future__ import annotations

from typing import Any

import pytest

from asyncblock.flow.conditions import OPERATORS, decide

HOLDS: list[tuple[Any, str, Any]] = [
    (1, "==", 1), ("a", "!=", "b"), (2, ">", 1), (1, "<", 2), (2, ">=", 2), (2, "<=", 2.5),
    (None, "is null", None), (0, "is not null", None), (True, "is true", None), (False, "is false", None),
    ("abc", "contains", "b"), ([1, 2], "contains", 2), ("abc", "not contains", "x"), ([], "not contains", 1),
    ("", "is empty", None), ({}, "is empty", None), ([0], "is not empty", None),
    (1, "in", [1, 2]), ("a", "in", ["a"]), (3, "not in", [1]),
    ({"a": 1}, "has key", "a"), ({"a": 1}, "not has key", "b"), ({"a": 1}, "has value", 1),
    ({"a": 1}, "not has value", 2), ("abc", "starts with", "ab"), ("abc", "ends with", "bc"),
]  # fmt: skip
FAILS: list[tuple[Any, str, Any]] = [
    ("2", ">", 1), (True, ">", 0), (None, "<", 1), (1, "is true", None), (0, "is empty", None), ("a", "in", "abc"), ("x", "not in", "abc"),
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


@pytest.mark.parametrize("operator", ["==", "!=", "contains", "not contains", "has value", "not has value"])
def test_what_is_compared_with_nothing_never_holds(operator: str) -> None:
    lacking = {"handle": "yes", "expressions": [{"input_handle": "x", "operator": operator}]}
    for value in (None, 1, "a", [None], {"a": None}):
        assert decide([lacking], None, {"x": value}) is None


# An input of each JSON type, by name.
INPUTS: dict[str, Any] = {
    "null": None, "true": True, "false": False, "zero": 0, "one": 1, "one and a half": 1.5, "no text": "",
    "text": "abc", "no items": [], "items": [1, "abc", None, {"a": [1]}], "no members": {}, "members": {"abc": 1},
}  # fmt: skip

# For an operator and its value: the inputs for which it holds. All others are of a wrong type, or simply different.
MATRIX: list[tuple[str, Any, str]] = [
    ("==", 1, "one"),
    ("==", True, "true"),
    ("==", None, "null"),
    ("==", 1.0, ""),
    ("==", {"abc": 1}, "members"),
    ("==", {"abc": 1.0}, ""),
    ("==", {"abc": True}, ""),
    ("==", [1, "abc", None, {"a": [1]}], "items"),
    ("!=", 1, "null, true, false, zero, one and a half, no text, text, no items, items, no members, members"),
    (">", 0, "one, one and a half"),
    (">=", 1, "one, one and a half"),
    ("<", 1, "zero"),
    ("<=", 1, "zero, one"),
    (">", "0", ""),
    ("<", None, ""),
    ("is null", None, "null"),
    ("is not null", None, "true, false, zero, one, one and a half, no text, text, no items, items, no members, members"),
    ("is true", None, "true"),
    ("is false", None, "false"),
    ("contains", "abc", "text, items"),
    ("contains", 1, "items"),
    ("contains", True, ""),
    ("contains", {"a": [1]}, "items"),
    ("not contains", "abc", "no text, no items"),
    ("not contains", 2, "no items, items"),
    ("is empty", None, "null, no text, no items, no members"),
    ("is not empty", None, "text, items, members"),
    ("in", [True, "abc", {"abc": 1}], "true, text, members"),
    ("in", [0, None], "null, zero"),
    ("in", "abc", ""),
    ("not in", [None, True, 1, 1.5, "", {}], "false, zero, text, no items, items, members"),
    ("not in", "x", ""),
    ("has key", "abc", "members"),
    ("has key", 1, ""),
    ("not has key", "abc", "no members"),
    ("not has key", ["abc"], ""),
    ("has value", 1, "members"),
    ("has value", True, ""),
    ("not has value", 1, "no members"),
    ("starts with", "ab", "text"),
    ("starts with", "", "no text, text"),
    ("starts with", 1, ""),
    ("ends with", "bc", "text"),
    ("ends with", None, ""),
    ("like", "abc", ""),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "value", "names"), MATRIX, ids=[f"{o} {v!r}" for o, v, _ in MATRIX])
def test_each_operator_on_inputs_of_each_type(operator: str, value: Any, names: str) -> None:
    held = [name for name, left in INPUTS.items() if decide([case("yes", ("x", operator, value))], None, {"x": left})]
    assert held == [name for name in names.split(", ") if name]


def test_the_matrix_has_every_operator() -> None:
    assert {operator for operator, _, _ in MATRIX} == {*OPERATORS, "like"}
