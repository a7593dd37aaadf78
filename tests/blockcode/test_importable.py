"""Which of its package's code a block can come to run: as its sources say, and the whole package where they can't."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from asyncblock.blockcode.importable import importable

from ..flow.packages import write

FILES = {
    "package.oo.yaml": "name: shop\n",
    "blocks/a/main.py": "import pandas as pd\nfrom helpers import clean\nfrom .near import y\ndef main(inputs): ...\n",
    "blocks/a/near.py": "y = 1\n",
    "blocks/a/block.oo.yaml": "executor: {name: python}\n",
    "blocks/b/main.py": "import near\nimport numpy\ndef main(inputs): ...\n",
    "blocks/b/near.py": "z = 1\n",
    "helpers/__init__.py": "from . import base\n",
    "helpers/clean.py": "import tools.strings.cases\n",
    "helpers/base.py": "x = 1\n",
    "tools/strings/cases.py": "import json, requests\n",
    "tools/strings/other.py": "o = 1\n",
    "unused.py": "u = 1\n",
    "setup.sh": "echo\n",
    "data.csv": "1,2\n",
}

A = "blocks/a/main.py"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        write(tmp_path / name, text)
    return tmp_path


def test_what_is_imported_counts_transitively_and_nothing_else(root: Path) -> None:
    found = importable(root, A)
    assert found.files == (
        "blocks/a/main.py",
        "blocks/a/near.py",
        "helpers/__init__.py",
        "helpers/base.py",
        "helpers/clean.py",
        "setup.sh",
        "tools/strings/cases.py",
    )
    assert found.outside == {"pandas", "requests"}
    assert not found.whole
    other = importable(root, "blocks/b/main.py")
    assert other.files == ("blocks/b/main.py", "blocks/b/near.py", "setup.sh")
    assert other.outside == {"numpy"}


@pytest.mark.parametrize(
    ("edits", "same"),
    [
        ({"unused.py": "u = 2\n"}, True),
        ({"blocks/b/main.py": "def main(inputs): return {}\n"}, True),
        ({"data.csv": "3,4\n"}, True),
        ({"blocks/a/block.oo.yaml": "executor: {name: python, options: {}}\n"}, True),
        ({A: "# said\n" + FILES[A]}, True),
        ({A: FILES[A].replace("...", "return {}")}, False),
        ({"helpers/base.py": "x = 2\n"}, False),
        ({"tools/strings/cases.py": "import json\n"}, False),
        ({"setup.sh": "echo more\n"}, False),
        ({"helpers/__init__.py": ""}, False),
        ({"blocks/a/helpers.py": "clean = 1\n"}, False),
        ({"__init__.py": "import unused\n"}, False),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, Mapping) else "",
)
def test_an_edit_counts_where_the_block_could_run_it(root: Path, edits: Mapping[str, str], same: bool) -> None:
    before = importable(root, A).digest
    for name, text in edits.items():
        write(root / name, text)
    assert (importable(root, A).digest == before) is same


@pytest.mark.parametrize(
    "source",
    [
        "from helpers import *\n",
        "import importlib\nimportlib.import_module('unused')\n",
        "from importlib import import_module\n",
        "__import__('unused')\n",
        "exec('import unused')\n",
        "import sys\nsys.path.insert(0, 'x')\n",
        "from pathlib import Path\nHERE = Path(__file__).parent\n",
        "this is no Python\n",
    ],
)
def test_all_code_of_the_package_counts_where_imports_cannot_be_told(root: Path, source: str) -> None:
    write(root / A, source)
    before = importable(root, A)
    assert before.whole is ("*" not in source)
    write(root / "helpers/another.py", "w = 1\n")
    assert importable(root, A).digest != before.digest


def test_versions_of_distributions_are_no_dynamic_imports(root: Path) -> None:
    write(
        root / A, "import importlib.metadata\nfrom importlib import metadata\nV = importlib.metadata.version('pip')\n"
    )
    assert not importable(root, A).whole


def test_who_asks_for_one_file_of_data_beside_it_can_run_no_more_for_that(root: Path) -> None:
    write(
        root / "blocks/c/main.py",
        "import os, pathlib\nfrom pathlib import Path\nX = Path(__file__).parents[2] / 'sample.csv'\ndef main(): ...\n",
    )
    found = importable(root, "blocks/c/main.py")
    assert not found.whole and found.files == ("blocks/c/main.py", "setup.sh")


@pytest.mark.parametrize(
    "place", ["Path(__file__).parent / name", "Path(__file__).parent / 'a.csv' if name else exec('x')"]
)
def test_who_may_go_on_from_where_it_stands_can_run_the_whole_package(root: Path, place: str) -> None:
    write(root / "blocks/c/main.py", f"from pathlib import Path\ndef main(name):\n    return {place}\n")
    assert importable(root, "blocks/c/main.py").whole
