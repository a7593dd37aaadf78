"""The README: its code runs, its output is what is printed, and no command is missing in the page that it names."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock.cli.app import app, listing
from asyncblock.examples import find

from ..flows import handle_def, node, write_flow
from ..processes import run

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = (ROOT / "docs" / "commands.md").read_text("utf-8")
CONTEXT = (ROOT / "docs" / "context.md").read_text("utf-8")


def fences(language: str) -> list[str]:
    """Return the README's fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_it_is_short_and_begins_with_what_a_stranger_needs() -> None:
    lines = README.splitlines()
    assert len(lines) <= 170
    beginning = "\n".join(lines[:40])
    for words in ("```python", "<!-- command: run -->", "<!-- command: test -->", "No broker"):
        assert words in beginning
    assert len(fences("python")[0].splitlines()) <= 12


def test_each_command_stands_in_the_page_of_commands() -> None:
    names = [command.name or str(getattr(command.callback, "__name__", "")) for command in app.registered_commands]
    names += [group.name or "" for group in app.registered_groups]
    names += [f"sessions {getattr(command.callback, '__name__', '')}" for command in listing.registered_commands]
    assert len(names) >= 10
    assert [name for name in names if f"`{name}" not in COMMANDS] == []


def test_each_call_of_the_context_stands_in_its_page() -> None:
    for name in (
        "output",
        "outputs",
        "flush",
        "done",
        "finish",
        "preview",
        "report_progress",
        "report_log",
        "log_json",
    ):
        assert f"`{name}" in CONTEXT
        assert hasattr(asyncblock.Context, name)


async def test_its_block_is_a_block(tmp_path: Path) -> None:
    block = node(
        "n",
        fences("python")[0],
        tmp_path,
        inputs=[handle_def("a")],
        outputs=["b"],
        inputs_from=[{"handle": "a", "value": 1}],
    )
    outputs = [{"handle": "b", "from_node": [{"node_id": "n", "output_handle": "b"}]}]
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(write_flow(tmp_path, [block], outputs_from=outputs))
        assert await session.outputs() == {"b": 2}


async def test_its_service_code_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    source = next(text for text in fences("python") if "embedded()" in text)
    prices = tmp_path / "prices.csv"
    prices.write_text("day,A\n2020-01-01,1\n2020-02-01,2\n")
    source = source.replace("prices.csv", str(prices))
    code = f"async def work(asyncblock, flow):\n{textwrap.indent(source, '    ')}"
    names: dict[str, Any] = {}
    exec(compile(ast.parse(code), "README.md", "exec"), names)
    await names["work"](asyncblock, find("stocks"))
    assert "'best': 'A'" in capsys.readouterr().out


async def test_its_output_is_what_is_printed(tmp_path: Path) -> None:
    printed = (await run("run", "stocks", state=tmp_path)).out
    [shown] = [text for text in fences("") if "session succeeded" in text]
    assert [line for line in shown.splitlines() if line not in printed] == []
