"""Condition nodes: which case holds for some inputs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

__all__ = ["OPERATORS", "UNARY", "decide", "tested"]

Test = Callable[[Any, Any], bool]


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _compare(test: Callable[[Any, Any], bool]) -> Test:
    """Compare numbers; what isn't a number doesn't hold."""
    return lambda left, right: _number(left) and _number(right) and test(left, right)


def _equal(left: Any, right: Any) -> bool:
    """Compare as the existing engine does: ``true`` isn't 1, and neither is 1.0."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, float) is not isinstance(right, float):
        return False
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(value, right[key]) for key, value in left.items())
    return bool(left == right)


def _among(value: Any, values: Iterable[Any]) -> bool:
    return any(_equal(value, each) for each in values)


def _contains(left: Any, right: Any) -> bool:
    if isinstance(left, str):
        return isinstance(right, str) and right in left
    return isinstance(left, list) and _among(right, left)


def _can_contain(left: Any, right: Any) -> bool:
    return isinstance(left, list) or (isinstance(left, str) and isinstance(right, str))


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, (str, list, dict)) and not value)


def _on(kind: type[Any], test: Test, value: type[Any] = object) -> Test:
    """Test inputs of one kind against values of one kind; anything else doesn't hold."""
    return lambda left, right: isinstance(left, kind) and isinstance(right, value) and test(left, right)


OPERATORS: Final[Mapping[str, Test]] = {
    "==": _equal,
    "!=": lambda left, right: not _equal(left, right),
    ">": _compare(lambda left, right: left > right),
    "<": _compare(lambda left, right: left < right),
    ">=": _compare(lambda left, right: left >= right),
    "<=": _compare(lambda left, right: left <= right),
    "is null": lambda left, _: left is None,
    "is not null": lambda left, _: left is not None,
    "is true": lambda left, _: left is True,
    "is false": lambda left, _: left is False,
    "contains": _contains,
    "not contains": lambda left, right: _can_contain(left, right) and not _contains(left, right),
    "is empty": lambda left, _: _is_empty(left),
    "is not empty": lambda left, _: isinstance(left, (str, list, dict)) and bool(left),
    "in": _on(object, _among, list),
    "not in": _on(object, lambda left, right: not _among(left, right), list),
    "has key": _on(dict, lambda left, right: right in left, str),
    "not has key": _on(dict, lambda left, right: right not in left, str),
    "has value": _on(dict, lambda left, right: _among(right, left.values())),
    "not has value": _on(dict, lambda left, right: not _among(right, left.values())),
    "starts with": _on(str, str.startswith, str),
    "ends with": _on(str, str.endswith, str),
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
    operator = str(expression.get("operator"))
    test = OPERATORS.get(operator)
    if operator not in UNARY and "value" not in expression:
        return False
    return test is not None and test(inputs.get(str(expression.get("input_handle"))), expression.get("value"))
