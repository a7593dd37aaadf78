"""How functions written for ``oocana`` are called, and how they end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from asyncblock import events

from ..flows import all_of, node
from .kit import BOTH, run, run_each

pytest.importorskip("oocana", reason="needs the extra 'oocana'")


@BOTH
async def test_functions_are_called_by_the_number_of_their_parameters(tmp_path: Path, form: str) -> None:
    signatures = {
        "main()": "nothing",
        "main(params)": "inputs",
        "main(context)": "inputs",
        "main(context: Context)": "context",
        "main(context: 'Context')": "context",
        "main(context: 'oocana.Context')": "context",
        "main(context: Context | None)": "context",
        "main(params, context)": "both",
        "main(params, *, context)": "both",
        "main(params: 'NotThere', context: Context)": "both",
        "main(a, b, c=5)": "both",
        "main(*everything)": "inputs",
    }

    def made(place: Path, number: int) -> dict[str, Any]:
        source = f"""
            import oocana
            from oocana import Context

            {form} {list(signatures)[number]}:
                given = [each for each in locals().values() if each != 5]
                given = list(given[0]) if given and isinstance(given[0], tuple) else given
                kinds = ["context" if isinstance(each, Context) else "inputs" for each in given]
                return {{"out": "both" if kinds == ["inputs", "context"] else kinds[0] if kinds else "nothing"}}
        """
        return node("n", source, place)

    found = await run_each(tmp_path, made, len(signatures))
    assert {name: each.outputs["out"] for name, each in zip(signatures, found, strict=True)} == signatures


@BOTH
async def test_each_way_to_end_is_one_finish(tmp_path: Path, form: str) -> None:
    ways: list[tuple[str, dict[str, Any], str | None]] = [
        ("return None", {}, None),
        ("return {'out': 1}", {"out": 1}, None),
        ("context.finish(); context.finish(error='late')", {}, None),
        ("context.finish(result={'out': 5}); context.output('out', 6)", {"out": 5}, None),
        ("context.finish(result={'out': 5}, error='no luck')", {}, "no luck"),
        ("context.finish(result=[1])", {}, "ValueError: result should be a dict"),
        ("return [1]", {}, "main returned list"),
        ("context.error('told'); return {'out': 1}", {"out": 1}, None),
        ("context.send_error('told'); return {'out': 1}", {"out": 1}, None),
        ("raise KeyError('k')", {}, "KeyError: 'k'"),
        ("exit()", {}, None),
        ("import sys; sys.exit(3)", {}, "sys.exit(3)"),
        ("context.output('out', object())", {}, "object"),
        ("return {'out': object()}", {}, "object"),
        ("context.output('out', {None: 1, 2: b'text'}); context.finish()", {"out": {"null": 1, "2": "text"}}, None),
        ("return {'out': float('nan')}", {"out": None}, None),
    ]

    def made(place: Path, number: int) -> dict[str, Any]:
        source = f"from oocana import Context\n\n{form} main(params, context: Context):\n    {ways[number][0]}\n"
        return node("n", source, place)

    for (last, outputs, error), end in zip(ways, await run_each(tmp_path, made, len(ways)), strict=True):
        if error is None:
            assert (end.error, end.state, end.outputs) == (None, "succeeded", outputs), last
        else:
            assert end.error is not None, last
            assert error in end.error, last
            assert end.state == "failed", last
        assert end.told == (["told"] if "told" in last else []), last


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("from oocana import Context\n\ndef main(params, context: Context):\n    pass\n", "No module named 'oocana'"),
        (
            "import typing\nif typing.TYPE_CHECKING:\n    from oocana import Context\n\n"
            "def main(params, context: 'Context'):\n    pass\n",
            "main wants the context of 'oocana', which isn't installed here",
        ),
    ],
)
async def test_without_the_package_the_jobs_error_says_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str
) -> None:
    missing = tmp_path / "missing"
    missing.mkdir()
    # As if it weren't installed: this is found first.
    (missing / "oocana.py").write_text("raise ModuleNotFoundError(\"No module named 'oocana'\", name='oocana')\n")
    monkeypatch.setenv("PYTHONPATH", str(missing), prepend=os.pathsep)
    found = await run(tmp_path / "flow", source)
    [finished] = all_of(found, events.BlockFinished)
    assert finished.error is not None
    assert words in finished.error
    assert "pip install 'asyncblock[oocana]'" in finished.error
