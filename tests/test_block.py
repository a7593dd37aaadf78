"""Blocks as functions: how arguments are bound, and what ``@block`` reads from annotations."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, TypedDict

import pytest

import asyncblock
from asyncblock import Bin, Context, SyncContext, Var, events
from asyncblock.block import bind
from asyncblock.errors import LocalProtocolError

from .flows import all_of, end_of, run_block

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTyping

INPUTS: dict[str, Any] = {"a": 1}
CTX = object()


@dataclass
class Point:
    a: int
    b: int = 2


def none() -> Any:
    return ()


def one(inputs: Any) -> Any:
    return (inputs,)


def one_other_name(params: Any) -> Any:
    return (params,)


def context_by_name(ctx: Any) -> Any:
    return ("ctx", ctx)


def context_by_annotation(c: Context) -> Any:
    return ("ctx", c)


def sync_context(c: SyncContext) -> Any:
    return ("ctx", c)


def context_or_none(c: Context | None) -> Any:
    return ("ctx", c)


def unresolvable(c: Context, other: OnlyForTyping | None = None) -> Any:
    return ("ctx", c)


def both(inputs: Any, ctx: Any) -> Any:
    return (inputs, ctx)


def both_other_names(x: Any, y: Any) -> Any:
    return (x, y)


def swapped(ctx: Context, inputs: Any) -> Any:
    return (inputs, ctx)


def defaults(inputs: Any, ctx: Any, more: int = 3) -> Any:
    return (inputs, ctx, more)


def own_default(inputs: Any, more: int = 3) -> Any:
    return (inputs, more)


def keyword_context(inputs: Any, *, ctx: Any) -> Any:
    return (inputs, ctx)


def keyword_context_by_annotation(inputs: Any, *, c: Context) -> Any:
    return (inputs, c)


def keywords_only(*, inputs: Any, ctx: Any) -> Any:
    return (inputs, ctx)


def keyword_with_default(inputs: Any, *, level: int = 5) -> Any:
    return (inputs, level)


def stars(*args: Any) -> Any:
    return args


def made_of_a_dataclass(inputs: Point, ctx: Any) -> Any:
    return (inputs, ctx)


class Callables:
    def method(self, inputs: Any, ctx: Any) -> Any:
        return (inputs, ctx)

    def __call__(self, inputs: Any, ctx: Any) -> Any:
        return (inputs, ctx)


def wrapped(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return call


def partially(extra: int, inputs: Any, ctx: Any) -> Any:
    return (extra, inputs, ctx)


BOTH = (INPUTS, CTX)


@pytest.mark.parametrize(
    ("fn", "received"),
    [
        (none, ()),
        (one, (INPUTS,)),
        (one_other_name, (INPUTS,)),
        (context_by_name, ("ctx", CTX)),
        (context_by_annotation, ("ctx", CTX)),
        (sync_context, ("ctx", CTX)),
        (context_or_none, ("ctx", CTX)),
        (unresolvable, ("ctx", CTX)),
        (both, BOTH),
        (both_other_names, BOTH),
        (swapped, BOTH),
        (defaults, (INPUTS, CTX, 3)),
        (own_default, (INPUTS, 3)),
        (keyword_context, BOTH),
        (keyword_context_by_annotation, BOTH),
        (keywords_only, BOTH),
        (keyword_with_default, (INPUTS, 5)),
        (stars, BOTH),
        (made_of_a_dataclass, (Point(1, 2), CTX)),
        (Callables().method, BOTH),
        (Callables(), BOTH),
        (wrapped(both), BOTH),
        (functools.partial(partially, 7), (7, INPUTS, CTX)),
    ],
    ids=lambda value: getattr(value, "__name__", None) if callable(value) else "",
)
def test_arguments_are_bound_by_parameter_and_resolved_annotation(fn: Callable[..., Any], received: Any) -> None:
    assert bind(fn)(INPUTS, CTX) == received


async def coroutine(inputs: Any) -> Any: ...


class AsyncCallable:
    async def __call__(self, inputs: Any) -> Any: ...


@pytest.mark.parametrize(
    "fn",
    [coroutine, wrapped(coroutine), functools.partial(coroutine), AsyncCallable()],
)
def test_every_kind_of_coroutine_function_is_seen_as_one(fn: Callable[..., Any]) -> None:
    assert bind(fn).is_async
    assert not bind(one).is_async


async def generator(inputs: Any) -> AsyncIterator[int]:
    yield 1


def three(a: Any, b: Any, c: Any) -> Any: ...


def unknown_keyword(inputs: Any, *, size: int) -> Any: ...


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (generator, "generator is a generator; send values with ctx.output"),
        (three, r"three needs 3 arguments \(a, b, c\); a block is main"),
        (unknown_keyword, "unknown_keyword: argument 'size' has no default and is neither inputs nor ctx"),
    ],
)
def test_signatures_that_cannot_be_called_say_so(fn: Callable[..., Any], words: str) -> None:
    with pytest.raises(LocalProtocolError, match=words):
        bind(fn)


@pytest.mark.parametrize(
    "source",
    [
        "from __future__ import annotations\nfrom asyncblock import Context\n"
        "async def main(c: Context):\n    await c.output(c.inputs, 'out')\n",
        "import asyncblock\nasync def main(inputs, *, c: 'asyncblock.Context'):\n    await c.output(inputs, 'out')\n",
        "def main(inputs, *, ctx):\n    ctx.output(inputs, 'out')\n",
        "from asyncblock import SyncContext\ndef main(c: SyncContext):\n    c.output(c.inputs, 'out')\n",
    ],
)
async def test_string_annotations_and_keyword_only_parameters_work_in_files(tmp_path: Path, source: str) -> None:
    found = await run_block(tmp_path, source)
    assert [event.output for event in all_of(found, events.BlockOutput)] == [{}], end_of(found).error


async def test_a_block_in_a_file_that_cannot_be_called_fails_with_those_words(tmp_path: Path) -> None:
    found = await run_block(tmp_path, "async def main(inputs, ctx):\n    yield 1\n")
    assert "main is a generator; send values with ctx.output" in str(end_of(found).error)


# ---------------------------------------------------------------------- @block


class Frame:
    """A class that JSON can't carry."""


class In(TypedDict):
    count: int
    name: Annotated[str, "a comment"]
    rows: list[list[float]]
    frame: Frame
    kept: Annotated[dict[str, int], Var]
    picture: bytes
    raw: Annotated[bytearray, Bin]
    kind: Literal["a", "b"]
    maybe: int | None
    anything: Any
    point: Point
    left_out: NotRequired[str]


@dataclass
class Options:
    path: str
    retries: int = 3
    tags: list[str] = field(default_factory=list)


@dataclass
class Out:
    total: float
    frame: Frame | None = None


@asyncblock.block
async def typed(inputs: In, ctx: Context) -> Out:
    """Say what it does.

    And more, which is not its description.
    """
    raise NotImplementedError


@asyncblock.block(name="renamed", retries=2, backoff=0.5, not_retried=[ValueError, "KeyError"], description="mine")
def configured(options: Options, ctx: SyncContext) -> None: ...


@asyncblock.block(inputs=[{"handle": "x"}], outputs=[{"handle": "y"}])
def overridden(inputs: In) -> Out:
    raise NotImplementedError


@asyncblock.block
def untyped(inputs, ctx):  # type: ignore[no-untyped-def]
    """Take anything."""


@asyncblock.block
def takes_nothing() -> None: ...


def test_handles_are_read_from_a_typed_dict() -> None:
    assert typed.inputs_def is not None
    assert {each["handle"]: each.get("json_schema") for each in typed.inputs_def} == {
        "count": {"type": "integer"},
        "name": {"type": "string"},
        "rows": {"type": "array"},
        "frame": {"contentMediaType": "oomol/var"},
        "kept": {"contentMediaType": "oomol/var"},
        "picture": {"contentMediaType": "oomol/bin"},
        "raw": {"contentMediaType": "oomol/bin"},
        "kind": {"enum": ["a", "b"]},
        "maybe": {"type": "integer"},
        "anything": None,
        "point": {"type": "object"},
        "left_out": {"type": "string"},
    }
    assert [each["handle"] for each in typed.inputs_def if each.get("nullable")] == ["maybe", "left_out"]


def test_handles_and_defaults_are_read_from_a_dataclass() -> None:
    assert configured.inputs_def == [
        {"handle": "path", "json_schema": {"type": "string"}},
        {"handle": "retries", "json_schema": {"type": "integer"}, "value": 3},
        {"handle": "tags", "json_schema": {"type": "array"}, "value": []},
    ]
    assert typed.outputs_def == [
        {"handle": "total", "json_schema": {"type": "number"}},
        {"handle": "frame", "json_schema": {"contentMediaType": "oomol/var"}, "nullable": True},
    ]


def test_what_is_said_explicitly_wins() -> None:
    assert (overridden.inputs_def, overridden.outputs_def) == ([{"handle": "x"}], [{"handle": "y"}])
    assert (configured.name, configured.description) == ("renamed", "mine")
    assert configured.retries == {"retries": 2, "backoff": 0.5, "not_retried": ["ValueError", "KeyError"]}
    assert (typed.name, typed.description, typed.retries) == ("typed", "Say what it does.", None)
    assert (untyped.inputs_def, untyped.outputs_def) == (None, None)
    assert takes_nothing.inputs_def == []


def test_a_block_can_be_called_alone() -> None:
    @asyncblock.block
    def half(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"out": inputs["value"] / 2}

    assert half({"value": 4}) == {"out": 2}
    assert half.name == "half"


class Numbers(TypedDict):
    low: int
    high: int


class Total(TypedDict):
    total: int


@asyncblock.block
def add_up(inputs: Numbers, ctx: SyncContext) -> Total:
    """Add up a range in a worker thread."""
    ctx.report_progress(50)
    return {"total": sum(range(inputs["low"], inputs["high"]))}


async def test_an_executor_of_its_own_runs_blocks_until_it_is_cancelled() -> None:
    """``Executor(blocks=[...]).run(mainframe)`` in a task, as a service without a lifespan would."""
    flow = asyncblock.Flow("adding")
    flow.output("total", flow.node(add_up, {"low": 1, "high": flow.input("high")})["total"])
    async with asyncblock.embedded(workers=0) as inside:
        # An embedded mainframe has an executor already, and a link has one: this must be said, not break.
        with pytest.raises(asyncblock.Closed, match="executor"):
            await asyncblock.Executor(blocks=[add_up]).run(inside)
    from asyncblock.inprocess.hosting import hosted_mainframe, listening
    from asyncblock.runtime.iothread import shared

    async with shared().lease() as io:
        import tempfile

        with tempfile.TemporaryDirectory() as data:
            async with hosted_mainframe(io, Path(data)) as server, listening(io, server, "127.0.0.1", 0) as url:
                executing = asyncio.create_task(asyncblock.Executor(blocks=[add_up]).run(url, server.token))
                async with asyncblock.connect(url, server.token) as mainframe:
                    session = await mainframe.start(flow, {"high": 5})
                    assert await session.outputs() == {"total": 10}
                executing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await executing
