from __future__ import annotations

import ast
from pathlib import Path

import pytest

from asyncblock.flow.features import FEATURES, Feature

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("feature", FEATURES, ids=lambda each: each.name)
def test_each_feature_names_a_test_that_is_there(feature: Feature) -> None:
    assert feature.state in ("works", "refused")
    name, _, function = feature.test.partition("::")
    tree = ast.parse((TESTS / name).read_text("utf-8"))
    assert function in {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))}


def test_no_feature_stands_twice() -> None:
    assert len({each.name for each in FEATURES}) == len(FEATURES)
