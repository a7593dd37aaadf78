"""What a client gives a mainframe travels as JSON; what can't is named."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

import asyncblock
from asyncblock.client.encoding import encoded
from asyncblock.errors import PayloadTooLarge, UnserializableValue
from asyncblock.testing import run_block


@asyncblock.block
async def double(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    """Return twice the value."""
    return {"out": 2 * inputs["value"]}


@pytest.mark.parametrize(
    "value", [{"a": [1, None, "é"]}, "line\nbreak", list(range(100_000))], ids=lambda v: str(v)[:20]
)
async def test_a_value_is_the_same_in_json_whatever_its_size(value: object) -> None:
    assert orjson.loads(orjson.dumps(await encoded(value, "x"))) == value


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (b"abc", UnserializableValue, "value on handle 'value' can't be sent: inputs from outside travel as JSON"),
        (list(range(2_000_000)), PayloadTooLarge, "the input 'value' has at least 4"),
    ],
)
async def test_an_input_that_cannot_travel_is_named(value: object, error: type[Exception], words: str) -> None:
    flow = asyncblock.Flow("doubling")
    flow.node(double, {"value": flow.input("value")})
    async with asyncblock.embedded(blocks=[double]) as mainframe:
        with pytest.raises(error, match=words):
            await mainframe.start(flow, {"value": value})


async def test_a_large_input_arrives() -> None:
    result = await run_block(double, {"value": list(range(100_000))})
    assert result.outputs == {"out": 2 * list(range(100_000))}
