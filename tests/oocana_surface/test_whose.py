"""For whose context a block was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..flows import node
from .kit import run_each

pytest.importorskip("oocana", reason="needs the extra 'oocana'")


async def test_whose_context_a_block_gets_is_said_by_its_annotation_or_its_imports(tmp_path: Path) -> None:
    cases = [
        ("from oocana import LLMModelOptions", "params, context", True),
        ("import oocana", "params, context", True),
        ("import typing\nif typing.TYPE_CHECKING:\n    from oocana import Context", "params, context: 'Context'", True),
        (
            "from __future__ import annotations\nimport typing\nif typing.TYPE_CHECKING:\n    import oocana as o",
            "params: dict, context: o.Context",
            True,
        ),
        ("from asyncblock import SyncContext\nimport oocana", "params, context: SyncContext", False),
        ("import asyncblock, oocana", "params, context", False),
        ("", "params, context", False),
    ]

    def made(place: Path, number: int) -> dict[str, Any]:
        imports, parameters, _ = cases[number]
        kind = "any(each.__module__ == 'oocana.context' for each in type(context).__mro__)"
        return node("n", f"{imports}\n\ndef main({parameters}):\n    return {{'out': {kind}}}\n", place)

    found = await run_each(tmp_path, made, len(cases))
    assert [each.outputs["out"] for each in found] == [theirs for _, _, theirs in cases]


async def test_the_options_of_the_executor_say_it_above_all(tmp_path: Path) -> None:
    cases = [("oocana", "'out', 1"), ("asyncblock", "1, 'out'")]

    def made(place: Path, number: int) -> dict[str, Any]:
        said, call = cases[number]
        made = node("n", f"import oocana\n\ndef main(params, context):\n    context.output({call})\n", place)
        made["task"]["executor"]["options"]["context"] = said
        return made

    assert [each.outputs for each in await run_each(tmp_path, made, 2)] == [{"out": 1}, {"out": 1}]
