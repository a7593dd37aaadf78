"""What both faces of a job do to send: one logic, so that the same calls become the same records."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from asyncblock import events
from asyncblock.context.sending import driven

from ..flows import end_of, run_block

CALLS = """
import numpy as np

{define} main(inputs, ctx):
    {a}ctx.output({{"n": 1}}, "out")
    {a}ctx.output("x" * 100_000, "large")
    {a}ctx.output([1], "nowhere")
    {a}ctx.output({{1, 2}}, "nowhere either")
    {a}ctx.outputs({{"out": 2, "large": [0] * 50_000}})
    {a}ctx.output(np.arange(3), "kept")
    {a}ctx.preview([1, 2], id="p")
    {a}ctx.preview({{"type": "table", "data": {{"columns": ["a"], "rows": [[1]]}}}})
    {a}ctx.report_log("one\\ntwo", "stderr")
    {a}ctx.log_json({{"a": 1}})
    {a}ctx.send_message(["hello"])
    {a}ctx.send_warning("careful")
    {a}ctx.send_error("only told")
    {a}ctx.report_progress(40)
    {a}ctx.flush()
    try:
        {a}ctx.finish({{"out": object()}})
    except Exception as error:
        {a}ctx.send_warning(type(error).__name__)
    {a}ctx.finish({{"out": 3, "kept": [1, 2]}})
"""
"""Each call that sends, in both faces."""

DATA = (events.BlockOutput, events.BlockOutputs, events.BlockError, events.BlockFinished)
SHOWN = (
    events.BlockPreview, events.BlockLog, events.BlockLogJSON, events.BlockMessage, events.BlockWarning,
    events.BlockProgress,
)  # fmt: skip

OUTPUTS: list[str | dict[str, Any]] = [
    "out",
    "large",
    {"handle": "kept", "json_schema": {"contentMediaType": "oomol/var"}},
]


def told(found: list[events.Event]) -> list[tuple[str, str]]:
    """Return what is the same in every run: no times, no ids of sessions, no stalls of a busy machine; data first."""
    said = []
    for event in sorted(found, key=lambda event: not isinstance(event, DATA)):
        if not isinstance(event, (*DATA, *SHOWN)) or "blocked the event loop" in repr(event):
            continue
        fields = {name: getattr(event, name) for name in event.__slots__ if hasattr(event, name)}
        for name in ("session_id", "offset", "t", "job_id"):
            fields.pop(name, None)
        said.append((event.type, re.sub(r"[0-9a-f]{16,64}|link='[^']*'", "-", repr(fields))))
    return said


async def test_the_same_calls_become_the_same_records_in_both_faces(tmp_path: Path) -> None:
    made = []
    for define, awaits in (("async def", "await "), ("def", "")):
        found = await run_block(tmp_path / define[0], CALLS.format(define=define, a=awaits), OUTPUTS)
        assert end_of(found).error is None
        made.append(told(found))
    assert len(made[0]) > 15
    assert made[0] == made[1]


def test_a_driven_coroutine_returns_and_raises_as_a_function_does() -> None:
    async def inner(value: int) -> int:
        return value + 1

    async def outer(value: int) -> int:
        return await inner(value) * 10

    async def fails() -> None:
        await inner(1)
        raise LookupError("inner")

    assert driven(outer(1)) == 20
    with pytest.raises(LookupError, match="inner"):
        driven(fails())


def test_a_driven_coroutine_that_would_be_suspended_is_closed_and_told() -> None:
    closed = []

    async def waits() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            closed.append(True)

    with pytest.raises(RuntimeError, match="suspended"):
        driven(waits())
    assert closed == [True]


def test_what_a_driven_coroutine_holds_is_let_go_of_when_it_fails() -> None:
    left = []

    @asynccontextmanager
    async def held() -> AsyncIterator[None]:
        try:
            yield
        finally:
            left.append(True)

    async def fails() -> None:
        async with held():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        driven(fails())
    assert left == [True]
