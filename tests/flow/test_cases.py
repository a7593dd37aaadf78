"""Condition nodes in files: operators and the types that they are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from asyncblock.flow import load_flow

from .packages import problems


def condition(
    directory: Path, expression: dict[str, Any], schema: Any = None, logical: str = "OR", **conditions: Any
) -> Path:
    handle = {"handle": "x"} if schema is None else {"handle": "x", "json_schema": schema}
    cases = [{"handle": "yes", "logical": logical, "expressions": [{"input_handle": "x", **expression}]}]
    node = {
        "node_id": "if",
        "inputs_def": [handle],
        "conditions": {"cases": cases, **conditions},
        "inputs_from": [{"handle": "x", "value": 1}],
    }
    path = directory / "flow.oo.yaml"
    path.write_text(yaml.safe_dump({"nodes": [node]}, sort_keys=False))
    return path


WRONG: list[tuple[dict[str, Any], Any, str]] = [
    ({"operator": ">", "value": "3"}, None, "'>' compares with integer or number, not with '3'"),
    ({"operator": "<=", "value": True}, None, "not with True"),
    ({"operator": "in", "value": 3}, None, "'in' compares with array, not with 3"),
    ({"operator": "has key", "value": 3}, None, "'has key' compares with string"),
    ({"operator": "starts with", "value": ["a"]}, None, "'starts with' compares with string"),
    ({"operator": "=="}, None, "'==' needs a 'value'"),
    ({"operator": ">", "value": 3}, {"type": "string"}, "works on integer or number, but input 'x' is string"),
    ({"operator": "is true"}, {"type": "number"}, "works on boolean"),
    ({"operator": "contains", "value": 1}, {"type": ["integer", "null"]}, "works on array or string"),
    ({"operator": "has value", "value": 1}, {"type": "array"}, "works on object"),
    ({"operator": "ends with", "value": "a"}, {"type": "array"}, "works on string"),
    ({"operator": "is empty"}, {"type": "boolean"}, "works on array or object or string"),
    ({"operator": "like", "value": 1}, None, "unknown operator 'like'; there is '"[:-1]),
    ({"operator": "==", "value": 1, "input_handle": "q"}, None, "declares no input 'q'; there is 'x'"),
]


@pytest.mark.parametrize(("expression", "schema", "words"), WRONG, ids=range(len(WRONG)))
def test_an_operator_on_a_wrong_type_is_refused(
    tmp_path: Path, expression: dict[str, Any], schema: Any, words: str
) -> None:
    [(file, line, message)] = problems(condition(tmp_path, expression, schema))
    assert file == "flow.oo.yaml"
    assert line is not None
    assert words in message


RIGHT: list[tuple[dict[str, Any], Any]] = [
    ({"operator": ">", "value": 3}, {"type": ["string", "integer"]}),
    ({"operator": "==", "value": None}, {"type": "string"}),
    ({"operator": "contains", "value": 1}, True),
    ({"operator": "in", "value": [1]}, {"type": "integer"}),
    ({"operator": "is null"}, {"type": "string"}),
]


@pytest.mark.parametrize(("expression", "schema"), RIGHT, ids=range(len(RIGHT)))
def test_an_operator_on_a_type_that_it_may_meet_is_fine(
    tmp_path: Path, expression: dict[str, Any], schema: Any
) -> None:
    assert load_flow(condition(tmp_path, expression, schema)).nodes[0].kind == "condition"


def test_logical_and_default_are_checked(tmp_path: Path) -> None:
    path = condition(tmp_path, {"operator": "is null"}, default={"handel": "no"})
    assert "'default' needs a 'handle'" in problems(path)[0][2]
    path = condition(tmp_path, {"operator": "is null"}, logical="XOR")
    assert "'logical' is AND or OR" in problems(path)[0][2]
