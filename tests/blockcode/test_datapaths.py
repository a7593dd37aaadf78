"""Which mentions of ``__file__`` only name a file of data."""

from __future__ import annotations

import ast

import pytest

from asyncblock.blockcode.datapaths import data_names

DATA = [
    "Path(__file__).parents[2] / 'sample.csv'",
    "Path(__file__).resolve().parent / 'data' / 'sample.csv'",
    "Path(__file__).with_name('sample.json')",
    "Path(__file__).absolute().parent.joinpath('data', 'sample.csv')",
    "os.path.join(os.path.dirname(os.path.abspath(__file__)), 'sample.csv')",
    "pathlib.Path(__file__).parent / 'sample.csv'",
    "open(Path(__file__).parent / 'queries.sql').read()",
]

ANYTHING = [
    "Path(__file__).parent",
    "Path(__file__)",
    "__file__",
    "Path(__file__).parent / 'helper.py'",
    "Path(__file__).parent / name",
    "Path(__file__).parent / 'plugins'",
    "Path(__file__).parent / 'sample.csv' / '..'",
    "Path(__file__).parent.joinpath('sample.csv', name)",
    "os.path.join(os.path.dirname(__file__), 'sample.csv', name)",
    "os.path.join('/', __file__)",
    "(Path(__file__).parent / 'sample.csv').parent / name",
    "[Path(__file__).parent / 'sample.csv', X.parent]",
    "[Path(__file__).parent / 'sample.csv', os.path.dirname(X)]",
    "[Path(__file__).parent / 'sample.csv', __file__]",
    "Path(__file__).parents[n] / 'sample.csv'",
    "Path(__file__).parent.glob('*.csv')",
    "Path(__file__).with_suffix('.' + name)",
    "Path(__file__).parent / f'{name}.csv'",
]


def mentions(place: str) -> tuple[ast.AST, set[ast.AST]]:
    tree = ast.parse(f"import os, pathlib\nfrom pathlib import Path\ndef main(name, n, X=0):\n    return {place}\n")
    return tree, {node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "__file__"}


@pytest.mark.parametrize("place", DATA)
def test_a_path_that_ends_at_a_file_of_data_only_names_it(place: str) -> None:
    tree, found = mentions(place)
    assert data_names(tree) == found


@pytest.mark.parametrize("place", ANYTHING)
def test_a_path_that_may_lead_on_names_anything(place: str) -> None:
    tree, _ = mentions(place)
    assert data_names(tree) == set()
