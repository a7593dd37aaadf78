"""``check`` on what a flow's files import, and on what would run otherwise as in the existing engine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import orjson
import pytest

from asyncblock.cli.unresolved import unresolved_imports
from asyncblock.flow import load_flow

from ..flow.packages import block, write

FLOW = "nodes:\n  - {node_id: n, task: self::b, inputs_from: [{handle: x, value: 1}]}\n"


def flow_of(root: Path, source: str, files: Mapping[str, str] = MappingProxyType({})) -> Path:
    write(root / "package.oo.yaml", "name: mine\nversion: 1.0.0\n")
    block(root, "b", "x", "y", source)
    for name, text in files.items():
        write(root / name, text)
    return write(root / "flows/f/flow.oo.yaml", FLOW)


def check(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "asyncblock", "check", str(root / "flows/f"), *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, **environment},
        cwd=root,
    )


MAIN = "async def main(inputs, ctx):\n    import not_there_but_later\n"


def test_imports_that_find_nothing_are_told_with_file_and_line_and_others_are_not(tmp_path: Path) -> None:
    source = f"""
import json
import orjson.nothing_of_it
import not_there_a
import own_module
import typing
from . import beside
from .beside import anything
from .missing import x
from own_package.inner import y
from own_package import absent_name
from own_package.absent import z
try:
    import not_there_optional
except ImportError:
    pass
try:
    import not_there_certain
finally:
    pass
if typing.TYPE_CHECKING:
    import not_there_for_types
with open("/dev/null"):
    import not_there_b

{MAIN}"""
    files = {
        "own_module.py": "import not_there_c\n",
        "blocks/b/beside.py": "",
        "own_package/__init__.py": "",
        "own_package/inner.py": "from ..own_module import nothing\nimport not_there_d\n",
    }
    path = flow_of(tmp_path, source, files)
    found = {(Path(each.file or "").name, each.message.split("'")[1]) for each in unresolved_imports(load_flow(path))}
    assert found == {
        ("main.py", "not_there_a"),
        ("main.py", ".missing"),
        ("main.py", "own_package.absent"),
        ("main.py", "not_there_certain"),
        ("main.py", "not_there_b"),
        ("own_module.py", "not_there_c"),
        ("inner.py", "not_there_d"),
    }
    [certain] = [each for each in unresolved_imports(load_flow(path)) if each.subject == "not_there_certain"]
    assert (tmp_path / "blocks/b/main.py").read_text().splitlines()[
        (certain.line or 0) - 1
    ].strip() == "import not_there_certain"
    assert certain.code == "import"


def test_check_refuses_a_flow_whose_blocks_fail_at_import_unless_they_run_elsewhere(tmp_path: Path) -> None:
    flow_of(tmp_path, f"import not_there_a\n{MAIN}")
    done = check(tmp_path)
    assert done.returncode == 2
    assert "main.py:1: the import of 'not_there_a' can't be resolved here" in done.stdout
    assert "fine" not in done.stdout
    done = check(tmp_path, "--elsewhere")
    assert done.returncode == 0
    assert "'not_there_a' can't be resolved here (warning)" in done.stdout
    done = check(tmp_path, "--json")
    [problem] = orjson.loads(done.stdout)["problems"]
    assert problem["line"] == 1


@pytest.mark.parametrize(
    "source",
    ["from oocana import Context\n", "import typing\nif typing.TYPE_CHECKING:\n    from oocana import Context\n"],
)
def test_check_names_the_extra_that_brings_oocana(tmp_path: Path, source: str) -> None:
    flow_of(tmp_path / "pkg", f"{source}\ndef main(params, context: 'Context'):\n    pass\n")
    # A finder that knows nothing of the package, as if it weren't installed.
    hidden = (
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'oocana':\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
    )
    write(tmp_path / "hide/sitecustomize.py", hidden)
    done = check(tmp_path / "pkg", PYTHONPATH=f"{tmp_path / 'hide'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert done.returncode == 2
    assert (
        "the import of 'oocana' can't be resolved here; it comes with pip install 'asyncblock[oocana]'" in done.stdout
    )


def test_check_says_what_differs_between_the_modes(tmp_path: Path) -> None:
    write(tmp_path / "package.oo.yaml", "name: mine\nversion: 1.0.0\n")
    block(tmp_path, "b", "x=1", "y")
    path = write(
        tmp_path / "flows/f/flow.oo.yaml",
        """
        nodes:
          - {node_id: n, task: self::b}
          - {node_id: m, task: self::b, inputs_from: [{handle: x, value: 5}]}
        """,
    )
    done = check(tmp_path)
    assert done.returncode == 0
    [line] = [each for each in done.stdout.splitlines() if each.endswith("(with --compat oocana)")]
    assert (
        f"{path}:2: node 'n': its input 'x' has a default, and nothing feeds it; as in oocana, defaults don't" in line
    )
    [said] = orjson.loads(check(tmp_path, "--json").stdout)["compat"]
    assert said["line"] == 2
    done = check(tmp_path, "--compat", "oocana")
    assert "(with --compat oocana)" not in done.stdout
    assert "defaults don't count inside of a flow (warning)" in done.stdout

    path.write_text(
        FLOW.replace("value: 1", "from_node: [{node_id: gone, output_handle: y}]") + "  - {node_id: m, task: self::b}\n"
    )
    done = check(tmp_path)
    assert done.returncode == 2
    assert "there is no node 'gone'" in done.stdout
    assert "the connection is left out (with --compat oocana)" in done.stdout
    assert check(tmp_path, "--compat", "oocana").returncode == 0
    assert check(tmp_path, "--compat", "other").returncode == 2
