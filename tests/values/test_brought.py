"""Libraries that another block is importing at this moment."""

from __future__ import annotations

import asyncio
import os
import sys
import types
from pathlib import Path

import pytest

import asyncblock
from asyncblock import events
from asyncblock.values.brought import brought

from ..flows import all_of, end_of, one_block, until

IMPORTS = """
import importlib, importlib.machinery, pathlib, sys

def hold_at_the_first_module_within(name, attribute, held):
    plain = importlib.machinery.SourceFileLoader.exec_module

    def exec_module(loader, module):
        if module.__name__ != name and name in sys.modules and not hasattr(sys.modules[name], attribute):
            importlib.machinery.SourceFileLoader.exec_module = plain
            held()
        plain(loader, module)

    importlib.machinery.SourceFileLoader.exec_module = exec_module

def main(inputs, ctx):
    def held():
        ctx.output("held", "out")
        pathlib.Path({fifo!r}).read_bytes()

    hold_at_the_first_module_within({module!r}, {attribute!r}, held)
    importlib.import_module({module!r})
"""

SENDS = """
import dataclasses, datetime, decimal, enum, uuid

@dataclasses.dataclass
class Point:
    x: int

class Odd:
    pass

async def main(inputs, ctx):
    values = [Point(1), {3, 4}, decimal.Decimal("0.5"), uuid.UUID(int=1), datetime.time(1), range(3)]
    for value in (*values, [values[:-1]] * 20_000):
        await ctx.preview(value)
    await ctx.preview({"type": "table", "data": {"columns": ["a"], "rows": [[Point(2)]]}})
    try:
        await ctx.output(Odd(), "out")
    except asyncblock.UnserializableValue:
        pass
    await ctx.output([values[:-1]] * 20_000, "large")
    return {"out": values[:-1]}
"""

HELD = [
    ("numpy", "ndarray"),
    ("pandas", "DataFrame"),
    ("matplotlib.figure", "Figure"),
    ("matplotlib.pyplot", "get_fignums"),
]


@pytest.mark.parametrize(("module", "attribute"), HELD, ids=[name for name, _ in HELD])
async def test_values_are_sent_and_shown_while_another_block_imports(
    module: str, attribute: str, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    imports = one_block(tmp_path / "imports", IMPORTS.format(module=module, attribute=attribute, fifo=str(fifo)))
    sends = one_block(tmp_path / "sends", "import asyncblock\n" + SENDS, outputs=("out", "large"))
    async with asyncblock.embedded(workers=1) as mainframe:
        importing = await mainframe.start(imports)
        await until(importing, events.BlockOutput)
        found = [event async for event in await mainframe.start(sends)]
        await asyncio.to_thread(fifo.write_bytes, b"go on")
        assert (await importing.wait()).state == "succeeded"
    end = end_of(found)
    assert end.state == "succeeded", end.error
    assert end.outputs["out"] == [{"x": 1}, [3, 4], 0.5, "00000000-0000-0000-0000-000000000001", "01:00:00"]
    assert [each.warning for each in all_of(found, events.BlockWarning) if "initialized" in each.warning] == []


def test_an_authors_module_of_the_same_name_is_not_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", types.ModuleType("numpy"))
    assert brought("numpy", "ndarray") is None
    monkeypatch.delitem(sys.modules, "numpy")
    assert brought("numpy", "ndarray") is None
