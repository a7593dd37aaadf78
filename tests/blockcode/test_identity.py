"""Which code a ``@block`` is: its module and those of its package that it imports, as their sources say."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from asyncblock.blockcode.identity import module_digest

BLOCKS = """
import json
import asyncblock
from . import tools
from .deep.more import helper
from shop.settings import LIMIT
from shop import VERSION

@asyncblock.block
async def count(inputs, ctx):
    return {"n": helper(LIMIT)}
"""
FILES = {
    "__init__": "VERSION = 1",
    "blocks": BLOCKS,
    "tools": "def late():\n    from .later import x\n    return x",
    "later": "x = 1",
    "deep/__init__": "a = 1",
    "deep/more": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..routes import Route\n"
    "from ..settings import LIMIT\ndef helper(n): return n",
    "settings": "import shop.tools\nLIMIT = 1",
    "routes": "from .blocks import count\napp = 1",
    "unused": "a = 1",
}


def lay_out(root: Path, files: dict[str, str] = FILES) -> Path:
    for name, text in files.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def digest(root: Path) -> str:
    found = module_digest(f"{root.name}.blocks", root / "blocks.py")
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["blocks", "tools", "later", "deep/more", "settings", "__init__"])
def test_a_module_that_is_imported_counts(tmp_path: Path, name: str) -> None:
    root = lay_out(tmp_path / "shop")
    before = digest(root)
    lay_out(root, {name: f"{FILES[name]}\nnew = 1"})
    assert digest(root) != before


@pytest.mark.parametrize("name", ["routes", "unused", "deep/__init__", "deep/other", "unused_new"])
def test_what_stands_beside_and_is_not_imported_makes_no_difference(tmp_path: Path, name: str) -> None:
    root = lay_out(tmp_path / "shop")
    before = digest(root)
    lay_out(root, {name: "new = 1"})
    assert digest(root) == before


def test_comments_and_layout_make_no_difference_in_any_of_them(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "shop")
    before = digest(root)
    lay_out(root, {name: f"# new\n\n{text}\n\n# end" for name, text in FILES.items()})
    assert digest(root) == before


def test_a_module_without_a_package_counts_with_those_beside_it(tmp_path: Path) -> None:
    files = {"app": "import helper, json\nfrom tools.one import x", "helper": "", "tools/one": "x = 1", "other": ""}
    lay_out(tmp_path, files)
    seen = [module_digest("app", tmp_path / "app.py")]
    for name in ("other", "helper", "tools/one"):
        lay_out(tmp_path, {name: "y = 2"})
        seen.append(module_digest("app", tmp_path / "app.py"))
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3


def test_installed_modules_are_nobody_s_neighbours() -> None:
    import textwrap

    import typing_extensions

    for module in (textwrap, typing_extensions):
        assert module.__file__ is not None
        assert module_digest(module.__name__, Path(module.__file__)) is not None


def test_a_circle_and_a_broken_module_have_a_digest(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "shop", {"blocks": "from . import a", "a": "from . import blocks, b", "b": "def ("})
    before = digest(root)
    lay_out(root, {"b": "def ["})
    assert digest(root) != before


def test_a_file_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert module_digest("a.b", tmp_path / "b.py") is None


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from shop.blocks import count
exec('''
import asyncblock
@asyncblock.block
def typed(inputs):
    return {"n": [1, x in {"a", "b", "c"}, %s]}
''' % sys.argv[2])
print(count.hash, typed.hash)
"""


def hashes(root: Path, constant: str = "1") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, root.parent, constant], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_blocks_are_the_same_in_another_process_and_elsewhere(tmp_path: Path) -> None:
    first, second = hashes(lay_out(tmp_path / "a" / "shop")), hashes(lay_out(tmp_path / "b" / "shop"))
    assert first == second
    assert len(set(first)) == 2


def test_a_block_without_a_file_counts_by_what_it_does(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "shop")
    assert hashes(root)[1] != hashes(root, "2")[1]


def test_the_service_s_routes_are_not_part_of_its_blocks(tmp_path: Path) -> None:
    """A deploy that changes a route leaves its sessions in flight alone."""
    from asyncblock.examples import counting

    assert counting.split.entry == counting.count.entry == "asyncblock.examples.counting"
    place = tmp_path / "asyncblock"
    shutil.copytree(Path(counting.__file__ or "").parents[1], place)
    file = place / "examples" / "counting.py"
    before = module_digest(counting.__name__, file)
    for other in ("examples/service.py", "__init__.py", "examples/__init__.py", "context/face.py"):
        (place / other).write_text("new = 1")
    file.write_text(f"# new\n{file.read_text()}")
    assert module_digest(counting.__name__, file) == before
    file.write_text(file.read_text().replace("most_common(10)", "most_common(11)"))
    assert module_digest(counting.__name__, file) != before
