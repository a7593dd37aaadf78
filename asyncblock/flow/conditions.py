"""Condition nodes: which case holds for some inputs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

__all__ = ["OPERATORS", "UNARY", "decide", "tested"]

Test = Callable[[Any, Any], bool]


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _compare(test: Callable[[Any, Any], bool]) -> Test:
    """Compare numbers; what isn't a number doesn't hold."""
    return lambda left, right: _number(left) and _number(right) and test(left, right)


def _contains(left: Any, right: Any) -> bool:
    if isinstance(left, str):
        return isinstance(right, str) and right in left
    return isinstance(left, list) and right in left


def _is_container(value: object) -> bool:
    return isinstance(value, (str, list, dict))


OPERATORS: Final[Mapping[str, Test]] = {
    "==": lambda left, right: bool(left == right),
    "!=": lambda left, right: bool(left != right),
    ">": _compare(lambda left, right: left > right),
    "<": _compare(lambda left, right: left < right),
    ">=": _compare(lambda left, right: left >= right),
    "<=": _compare(lambda left, right: left <= right),
    "is null": lambda left, _: left is None,
    "is not null": lambda left, _: left is not None,
    "is true": lambda left, _: left is True,
    "is false": lambda left, _: left is False,
    "contains": _contains,
    "not contains": lambda left, right: isinstance(left, (str, list)) and not _contains(left, right),
    "is empty": lambda left, _: _is_container(left) and not left,
    "is not empty": lambda left, _: _is_container(left) and bool(left),
    "in": lambda left, right: _contains(right, left),
    "not in": lambda left, right: isinstance(right, (str, list)) and not _contains(right, left),
    "has key": lambda left, right: isinstance(left, dict) and right in left,
    "not has key": lambda left, right: isinstance(left, dict) and right not in left,
    "has value": lambda left, right: isinstance(left, dict) and right in left.values(),
    "not has value": lambda left, right: isinstance(left, dict) and right not in left.values(),
    "starts with": lambda left, right: isinstance(left, str) and isinstance(right, str) and left.startswith(right),
    "ends with": lambda left, right: isinstance(left, str) and isinstance(right, str) and left.endswith(right),
}
"""What an operator means for the input and the expression's value; a wrong type makes it false."""

UNARY: Final = frozenset(
    {"is null", "is not null", "is true", "is false", "is empty", "is not empty"},
)
"""Operators that take no value."""


def decide(
    cases: Sequence[Mapping[str, Any]], default: Mapping[str, Any] | None, inputs: Mapping[str, Any]
) -> str | None:
    """Return the output handle of the first case that holds, or the default's, or None."""
    for case in cases:
        results = [_holds(expression, inputs) for expression in case.get("expressions", ())]
        joined = all(results) if case.get("logical") == "AND" else any(results)
        if results and joined:
            return str(case["handle"])
    return None if default is None else str(default["handle"])


def tested(cases: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the input handles whose values decide; the others are only handed on."""
    return {str(each.get("input_handle")) for case in cases for each in case.get("expressions", ())}


def _holds(expression: Mapping[str, Any], inputs: Mapping[str, Any]) -> bool:
    test = OPERATORS.get(str(expression.get("operator")))
    try:
        return test is not None and test(inputs.get(str(expression.get("input_handle"))), expression.get("value"))
    except TypeError:
        return False  # a list can't be a key
