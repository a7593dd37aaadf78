"""Constants of the wrong type are told of, with what a handle takes and what it is given."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock.flow import load_flow
from asyncblock.flow.misfit import misfit

from .packages import block, write

INTEGER = {"type": "integer"}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "ages": {"type": "array", "items": INTEGER}},
}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (INTEGER, 5),
        (INTEGER, 5.0),
        ({"type": "number"}, 5),
        ({"type": ["string", "null"]}, None),
        ({"anyOf": [INTEGER, {"type": "null"}]}, None),
        ({"enum": [1, "one"]}, 1),
        ({"enum": ["a"], "type": "string"}, "a"),
        ({"contentMediaType": "oomol/secret", "type": "string"}, None),
        ({"type": "string", "nullable": True}, None),
        (PERSON, {"name": "x", "ages": [1, 2], "more": object()}),
        ({"type": "date"}, 5),
        ({"type": []}, 5),
        ({"$ref": "#/$defs/x"}, 5),
        ({"type": "array", "prefixItems": [INTEGER], "items": {"type": "string"}}, [1, "x"]),
        (True, 5),
        (None, 5),
        ("integer", "x"),
        ({"type": "string"}, date(2024, 1, 1)),
        ({"oneOf": "nonsense", "properties": 3, "enum": {}}, {"x": 1}),
    ],
)
def test_what_may_be_meant_is_no_contradiction(schema: Any, value: Any) -> None:
    assert misfit({"handle": "x", "json_schema": schema}, value) is None


@pytest.mark.parametrize(
    ("schema", "value", "words"),
    [
        (INTEGER, "five", 'it takes an integer, and is given "five", a string'),
        (INTEGER, 5.5, "it takes an integer, and is given 5.5, a number"),
        (INTEGER, True, "it takes an integer, and is given true"),
        ({"type": "boolean"}, 1, "it takes true or false, and is given 1, an integer"),
        ({"type": "boolean"}, "no", 'it takes true or false, and is given "no", a string'),
        ({"type": "string"}, 12345, "it takes a string, and is given 12345, an integer"),
        ({"type": "string"}, None, "it takes a string, and is given null"),
        ({"type": "array"}, {"a": 1}, 'it takes a list, and is given {"a":1}, a mapping'),
        ({"type": "object"}, [1], "it takes a mapping, and is given [1], a list"),
        ({"type": ["integer", "null"]}, "x", 'it takes an integer or null, and is given "x", a string'),
        ({"anyOf": [INTEGER, {"type": "null"}]}, "x", 'it takes an integer or null, and is given "x", a string'),
        ({"allOf": [{}, INTEGER]}, "x", 'it takes an integer, and is given "x", a string'),
        ({"enum": ["a", "b"]}, "c", 'it takes one of "a", "b", and is given "c", a string'),
        ({"const": 1}, True, "it takes 1, and is given true"),
        (PERSON, {"name": 1}, "at name: it takes a string, and is given 1, an integer"),
        (PERSON, {"ages": [1, "2"]}, 'at ages[1]: it takes an integer, and is given "2", a string'),
        ({"anyOf": [PERSON, {"type": "null"}]}, {"name": 1}, "at name: it takes a string, and is given 1, an integer"),
        ({"type": "array"}, "x" * 99, f'it takes a list, and is given "{"x" * 39}..., a string'),
    ],
)
def test_what_contradicts_is_told(schema: Any, value: Any, words: str) -> None:
    assert misfit({"handle": "x", "json_schema": schema}, value) == words


def test_null_is_what_a_nullable_handle_takes() -> None:
    assert misfit({"handle": "x", "json_schema": INTEGER, "nullable": True}, None) is None
    assert misfit({"handle": "x", "json_schema": INTEGER, "nullable": True}, "x") is not None


def test_a_constant_of_a_flow_is_told_with_its_node_handle_and_line(tmp_path: Path) -> None:
    """The flow runs all the same: there are blocks that convert what they get."""
    root = tmp_path / "pkg"
    block(root, "times", source="def main(inputs, ctx):\n    return {}\n")
    manifest = """
    executor: {name: python, options: {entry: main.py}}
    inputs_def:
      - {handle: n, json_schema: {type: integer}}
      - handle: text
        json_schema: {type: string}
        value: 3
    """
    write(root / "blocks/times/block.oo.yaml", manifest)
    path = write(
        root / "flows/f/flow.oo.yaml",
        """
        nodes:
          - node_id: held
            values: [{handle: v, value: [1]}]
          - node_id: first
            task: self::times
            inputs_from:
              - handle: n
                value: five
          - node_id: second
            task: self::times
            inputs_from:
              - handle: n
                from_node: [{node_id: held, output_handle: v}]
              - {handle: text, value: fine}
          - node_id: third
            task: self::times
            inputs_from:
              - {handle: n, value: 3}
        """,
    )
    warnings = load_flow(path).warnings
    assert {(Path(each.file or "").name, each.line, each.message) for each in warnings} == {
        ("flow.oo.yaml", 8, "node 'first', input 'n': it takes an integer, and is given \"five\", a string"),
        ("flow.oo.yaml", 12, "node 'second', input 'n': it takes an integer, and is given [1], a list"),
        ("block.oo.yaml", 6, "inputs_def: the default of 'text': it takes a string, and is given 3, an integer"),
    }


@asyncblock.block(inputs=[{"handle": "n", "json_schema": INTEGER}], outputs=[])
async def takes(inputs: dict[str, Any], ctx: asyncblock.Context) -> None:
    """Take a number."""


async def test_what_a_flow_says_that_is_built_in_python_is_logged_when_it_starts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    flow = asyncblock.Flow("f")
    flow.node(takes, {"n": "five"})
    words = "node 'takes', input 'n': it takes an integer, and is given \"five\", a string"
    assert [str(each) for each in flow.plan().warnings] == [words]
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(flow)
        assert (await session.wait()).state == "succeeded"
        await mainframe.map(flow, [{}, {}])
        said = [each.getMessage() for each in caplog.records if each.name == "asyncblock.client"]
        assert said == [f"flow 'f': {words}"] * 2, "once for all runs of a map"
