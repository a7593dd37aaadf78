"""Condition nodes of files: are the cases well formed, and can each operator work on what it is given?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .conditions import OPERATORS, UNARY
from .report import Report, did_you_mean
from .yamlfile import Map

__all__ = ["read_cases"]

_NUMBER: Final = ("number", "integer")
_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys((">", "<", ">=", "<="), _NUMBER),
    **dict.fromkeys(("in", "not in"), ("array",)),
    **dict.fromkeys(("has key", "not has key", "starts with", "ends with"), ("string",)),
}
"""What an operator's value may be; anything, where it isn't here."""

_INPUTS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys((">", "<", ">=", "<="), _NUMBER),
    **dict.fromkeys(("is true", "is false"), ("boolean",)),
    **dict.fromkeys(("contains", "not contains"), ("string", "array")),
    **dict.fromkeys(("is empty", "is not empty"), ("string", "array", "object")),
    **dict.fromkeys(("has key", "not has key", "has value", "not has value"), ("object",)),
    **dict.fromkeys(("starts with", "ends with"), ("string",)),
}
"""What an operator's input may be; anything, where it isn't here."""


_INSTEAD: Final = {"==": "'is null' does", "!=": "'is not null' does"}


def read_cases(
    report: Report, who: str, node: Map, inputs_def: list[dict[str, Any]], file: Path
) -> tuple[dict[str, Any], set[str]] | None:
    """Return the block of a condition node and its output handles."""
    conditions = node["conditions"]
    if not isinstance(conditions, Map) or not isinstance(conditions.get("cases"), list):
        report.problem(f"{who}: 'conditions' needs 'cases', a list", file, node.line_of("conditions"))
        return None
    types = {each["handle"]: _types(each) for each in inputs_def}
    handles: set[str] = set()
    for case in conditions["cases"]:
        if not isinstance(case, Map) or not isinstance(case.get("handle"), str):
            report.problem(f"{who}: a case needs a 'handle'", file, getattr(case, "line", conditions.line))
            continue
        handles.add(case["handle"])
        if case.get("logical", "OR") not in ("AND", "OR"):
            report.problem(f"{who}: 'logical' is AND or OR", file, case.line_of("logical"))
        expressions = case.get("expressions") or ()
        if not isinstance(expressions, (list, tuple)):
            report.problem(f"{who}: 'expressions' must be a list", file, case.line_of("expressions"))
            continue
        for expression in expressions:
            _check(report, who, expression, case, types, file)
    default = conditions.get("default")
    if default is not None and not (isinstance(default, Map) and isinstance(default.get("handle"), str)):
        report.problem(f"{who}: 'default' needs a 'handle'", file, conditions.line_of("default"))
        default = None
    if default is not None:
        handles.add(default["handle"])
    block = {
        "cases": [_case(case, compat=report.compat) for case in conditions["cases"] if isinstance(case, Map)],
        "default": None if default is None else dict(default),
        "inputs_def": inputs_def,
    }
    return block, handles


def _case(case: Map, *, compat: bool) -> dict[str, Any]:
    """Return a case as plans have it. In the existing engine a value that is null counts as none."""
    expressions = case.get("expressions")
    if not compat or not isinstance(expressions, list):
        return dict(case)
    kept = [
        {key: value for key, value in each.items() if key != "value" or value is not None}
        for each in expressions
        if isinstance(each, Map)
    ]
    return {**case, "expressions": kept}


def _check(report: Report, who: str, expression: object, case: Map, types: Mapping[str, set[str]], file: Path) -> None:
    if not isinstance(expression, Map):
        report.problem(f"{who}: an expression must be a mapping", file, case.line)
        return
    name, operator = str(expression.get("input_handle")), str(expression.get("operator"))
    if operator not in OPERATORS:
        line = expression.line_of("operator")
        report.problem(f"{who}: unknown operator {operator!r}; there is {', '.join(OPERATORS)}", file, line)
        return
    if name not in types:
        words = f"{who}: the condition declares no input {name!r}{did_you_mean(types)}"
        report.leftover(words, "it is null", file, expression.line_of("input_handle"))
    elif types[name] and operator in _INPUTS and not types[name] & set(_INPUTS[operator]):
        words = f"{who}: {operator!r} works on {_words(_INPUTS[operator])}, but input {name!r} is {_words(types[name])}"
        report.leftover(words, "it never holds", file, expression.line_of("operator"))
    if operator in UNARY:
        return
    if "value" not in expression:
        report.leftover(f"{who}: {operator!r} needs a 'value'", "it never holds", file, expression.line)
    elif operator in _VALUES and _type_of(expression["value"]) not in _VALUES[operator]:
        value = expression["value"]
        words = f"{who}: {operator!r} compares with {_words(_VALUES[operator])}, not with {value!r:.60}"
        report.leftover(words, "it never holds", file, expression.line_of("value"))
    elif expression["value"] is None and report.compat:
        words = f"{who}: {operator!r} compares with null, which {_INSTEAD.get(operator, 'no operator can')}"
        report.leftover(words, "it never holds", file, expression.line_of("value"))


def _types(definition: Mapping[str, Any]) -> set[str]:
    """Return the JSON types that a handle's schema names; none when it doesn't say (or is ``true``)."""
    schema = definition.get("json_schema")
    found = schema.get("type") if isinstance(schema, Mapping) else None
    names = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    # A handle that may be null may hold anything else that it names too.
    return {str(each) for each in names} - {"null"}


def _type_of(value: Any) -> str:
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "object" if isinstance(value, dict) else "null"


def _words(names: Any) -> str:
    return " or ".join(sorted(names))
