"""The commands with the extra ``cli`` alone: what other extras bring is asked for where it is used, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ..processes import run

ALONE = """
import importlib.machinery, sys

HERE = {
    "websockets", "anyio", "orjson", "yaml", "_yaml", "idna", "sniffio", "typing_extensions",
    "pydantic", "pydantic_core", "annotated_types", "typing_inspection", "typer", "rich", "click", "shellingham", "pygments", "markdown_it", "mdurl", "annotated_doc",
    "asyncblock", "sitecustomize",
}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if path is None and name not in HERE:
            spec = importlib.machinery.PathFinder.find_spec(name)
            if spec is not None and "site-packages" in str(spec.origin or spec.submodule_search_locations):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


@pytest.fixture
def alone(tmp_path: Path) -> str:
    """Return the PYTHONPATH of an environment that has no other extra."""
    place = tmp_path / "alone"
    place.mkdir()
    (place / "sitecustomize.py").write_text(ALONE)
    return f"{place}{os.pathsep}{os.getcwd()}"


async def test_a_flow_runs(tmp_path: Path, alone: str) -> None:
    ran = await run("run", "files", state=tmp_path, PYTHONPATH=alone)
    assert ran.process.returncode == 0, ran.err


@pytest.mark.parametrize(
    "command",
    ["run", "resume", "retry", "serve", "executor", "submit", "watch", "sessions", "show", "export", "check", "doctor",
     "flows", "wire", "new", "examples", "cache", "cluster", "page", "report"],
)  # fmt: skip
async def test_each_command_says_how_it_is_used(tmp_path: Path, alone: str, command: str) -> None:
    said = await run(command, "--help", state=tmp_path, PYTHONPATH=alone)
    assert said.process.returncode == 0, said.err


async def test_the_page_says_what_it_needs(tmp_path: Path, alone: str) -> None:
    said = await run("page", state=tmp_path, PYTHONPATH=alone)
    assert said.process.returncode == 2
    assert "pip install 'asyncblock[page]'" in "\n".join(said.err)
