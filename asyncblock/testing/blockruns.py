"""Running one block in a test: an in-memory mainframe, the real wire over a memory transport, a real Context."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from .. import events
from ..block import AnyBlock
from ..client import Mainframe, Session
from ..errors import BlockFailed
from ..executor import Executor
from ..inprocess.embedding import memory_link
from ..inprocess.hosting import living_on
from ..runtime.iothread import shared
from ..shapes import Results, by_handle
from ..wire.bodies import BodyRef
from .aroundblocks import Around, block_of
from .memorymainframe import MemoryMainframe

__all__ = ["BlockResult", "BlockRunner", "run_block"]


@dataclass(slots=True)
class BlockResult:
    """What a block did, as an observer of its session has seen it."""

    state: str = "running"
    """``succeeded``, ``failed`` or ``cancelled``."""
    error: str | None = None
    """Why it failed."""
    outputs: dict[str, Any] = field(default_factory=dict)
    """The last value of each handle."""
    values: list[tuple[str, Any]] = field(default_factory=list)
    """Every output in order: handle and value."""
    previews: list[Any] = field(default_factory=list)
    """Payloads; of a large one its bytes."""
    logs: list[str] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """What ``send_error`` told."""
    events: list[events.AnyEvent] = field(default_factory=list)
    """Everything, typed."""


class BlockRunner(Protocol):
    """The type of ``run_block`` and of the fixture ``block_run``."""

    async def __call__(
        self,
        main: Callable[..., Any] | AnyBlock,
        inputs: Results | None = None,
        *,
        timeout: float = 30.0,
        check: bool = True,
    ) -> BlockResult:
        """Run a block and return what it did, or raise what it raised."""
        ...


async def run_block(
    main: Callable[..., Any] | AnyBlock,
    inputs: Results | None = None,
    *,
    timeout: float = 30.0,
    check: bool = True,
) -> BlockResult:
    """Run a block function, or what ``@block`` made of one, and return what it did.

    What the block raised is raised here; with ``check=False`` a failed block is a result too. Inputs are handed on as
    between two nodes: a DataFrame, bytes, any object, up to 256 MiB of JSON. A function whose manifest lies beside its
    file has the handles, defaults and schemas of that; the values of a ``oomol/var`` handle are in the result as what
    the next block would get.

    ::

        result = await run_block(main, {"a": 1})
        assert result.outputs == {"b": 2}

    **Durability**: everything in the result is in the (in-memory) journal. **Cancellation** cancels the block.
    Raises ``InvalidFlow`` when the inputs aren't those that the block declares; ``TimeoutError`` after ``timeout``
    seconds; ``BlockFailed`` when the block failed without an exception: it said so, or ``sys.exit``.
    """
    around = Around(block_of(main))
    await around.sort(by_handle(inputs or {}))
    flow = around.flow()
    raised: list[BaseException] = []
    async with asyncio.timeout(timeout), _mainframe(around.blocks, raised) as mainframe:
        session = await mainframe.start(flow, around.outside)
        result = await _result(session, around)
    if check and result.state != "succeeded":
        if raised:
            raise raised[-1]
        raise BlockFailed(result.error or result.state, node_id="block")
    return result


@asynccontextmanager
async def _mainframe(blocks: Sequence[AnyBlock], raised: list[BaseException]) -> AsyncIterator[Mainframe]:
    async with (
        shared().lease() as io,
        living_on(io, MemoryMainframe(), "in-memory mainframe") as server,
        memory_link(io, server.accept_soon, "the in-memory mainframe") as link,
    ):
        executor = Executor(blocks)
        executor.on_failure = lambda _, error: raised.append(error)
        mainframe = Mainframe(link, local=executor)
        async with executor.attached(mainframe):
            yield mainframe


async def _result(session: Session, around: Around) -> BlockResult:
    result = BlockResult()
    async for event in session:
        if getattr(event, "node_id", None) not in around.nodes:
            result.events.append(event)
            await _note(session, result, event)
    if result.state == "succeeded":
        result.values = around.with_what_was_taken(result.values)
    result.outputs = dict(result.values)
    return result


async def _note(session: Session, result: BlockResult, event: events.AnyEvent) -> None:
    async def whole(value: Any, body: BodyRef | None) -> Any:
        return value if body is None else await session.fetch(body)

    match event:
        case events.BlockOutput():
            result.values.append((event.handle, await whole(event.output, event.body)))
        case events.BlockOutputs():
            bodies = [(handle, await session.fetch(ref)) for handle, ref in event.bodies.items()]
            result.values += [*event.outputs.items(), *bodies]
        case events.BlockFinished():
            bodies = [(handle, await session.fetch(ref)) for handle, ref in event.bodies.items()]
            result.values += [*event.result.items(), *bodies]
            result.error = event.error
        case events.BlockPreview():
            result.previews.append(await whole(event.payload, event.body))
        case events.BlockLog():
            result.logs.append(event.log)
        case events.BlockProgress():
            result.progress.append(event.rate)
        case events.BlockMessage():
            result.messages.append(await whole(event.payload, event.body))
        case events.BlockWarning():
            result.warnings.append(event.warning)
        case events.BlockError():
            result.errors.append(event.error)
        case events.SessionFinished():
            result.state = event.state
            result.error = result.error or event.error
