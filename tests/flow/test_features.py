from __future__ import annotations

import ast
from pathlib import Path

import pytest

from asyncblock.flow.features import FEATURES, Feature

TESTS = Path(__file__).parents[1]

# Tests of the loader and of pure machines: they show that a feature is read or decided, not that it works.
RUNNING_NOTHING = {
    "flow/test_load.py", "flow/test_load_nested.py", "flow/test_partial.py", "flow/test_run.py",
    "flow/test_deciding.py", "flow/test_conditions.py", "flow/test_cases.py", "flow/test_retries.py",
}  # fmt: skip
BEGINNINGS = {"embedded", "play", "run", "command", "start", "started"}
"""What runs a flow: the embedded mainframe, the command, and the helpers around them."""


@pytest.mark.parametrize("feature", FEATURES, ids=lambda each: each.name)
def test_each_feature_names_a_test_that_is_there(feature: Feature) -> None:
    assert feature.state in ("works", "refused")
    name, _, function = feature.test.partition("::")
    found = functions(name)
    assert function in found
    if feature.state == "works":
        assert name not in RUNNING_NOTHING
        assert called(found, function) & BEGINNINGS, f"{feature.test} runs nothing"


def functions(name: str) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse((TESTS / name).read_text("utf-8"))
    return {n.name: n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))}


def called(found: dict[str, ast.FunctionDef | ast.AsyncFunctionDef], function: str) -> set[str]:
    """Return the names of all that a test calls, through the helpers of its file too."""
    names: set[str] = set()
    waiting = [function]
    while waiting:
        node = found[waiting.pop()]
        for call in (each for each in ast.walk(node) if isinstance(each, ast.Call)):
            target = call.func
            name = (
                target.id if isinstance(target, ast.Name) else target.attr if isinstance(target, ast.Attribute) else ""
            )
            if name in found and name not in names:
                waiting.append(name)
            names.add(name)
    return names


def test_no_feature_stands_twice() -> None:
    assert len({each.name for each in FEATURES}) == len(FEATURES)
