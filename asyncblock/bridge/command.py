"""``asyncblock oocana-executor``, which is ``python-executor``: an executor of the ``oocana`` engine.

This process speaks with the engine and runs no author's code; that is done by an executor process of the usual kind.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from ..errors import AsyncBlockError
from .orders import EngineOrders

__all__ = ["main"]

logger = logging.getLogger("asyncblock.bridge")

_FLUSH = 5.0
"""Seconds that the broker has for what was said last."""

_LEAVING = 20.0
"""Seconds that jobs have for their cleaning up once the session is over; then their process is killed."""

_SYNC_SLOTS = 1000
"""Jobs of ``def`` blocks at once. Theirs takes any number, and blocks may wait for each other: a thread is made when
there is a job for it."""

_VAR_MEMORY = str(1 << 60)
"""The engine never says that a var value is needed no more, so nothing waits for that."""


def main(arguments: Sequence[str] | None = None, program: str = "python-executor") -> None:
    """Run the executor until its session is over."""
    orders = EngineOrders.read(sys.argv[1:] if arguments is None else arguments, program)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    if orders.debug_port is not None and find_spec("debugpy") is None:
        sys.stderr.write(f"{program}: debugpy isn't installed here, so no debugger can reach the blocks\n")
        orders = replace(orders, debug_port=None)
    os.environ.update(_environment(orders, os.environ))
    try:
        code = asyncio.run(_run(orders))
    except* AsyncBlockError as group:
        sys.stderr.write(f"{program}: {_first(group)}\n")
        code = 1
    raise SystemExit(code)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _environment(orders: EngineOrders, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the executor process finds the engine's directories by."""
    found = {
        "ASYNCBLOCK_ENGINE_SESSION_DIR": str(orders.session_dir),
        "ASYNCBLOCK_ENGINE_TMP_DIR": str(orders.tmp_dir),
    }
    if orders.debug_port is not None:
        found["ASYNCBLOCK_ENGINE_DEBUG_PORT"] = str(orders.debug_port)
        if orders.wait_for_client:
            found["ASYNCBLOCK_ENGINE_DEBUG_WAITS"] = "1"
    if "ASYNCBLOCK_VAR_MEMORY" not in environ:
        found["ASYNCBLOCK_VAR_MEMORY"] = _VAR_MEMORY
    return found


async def _run(orders: EngineOrders) -> int:
    # Late: a bad command line is told without them.
    from ..childprocesses.workers import Workers
    from ..mqtt import Broker
    from ..transport.websocket import HttpAnswer, serve_websocket
    from ..wire.frames import MAX_MESSAGE
    from .blockplaces import digest_of
    from .bridge import RUN_BLOCK, RUN_SERVICE, Bridge
    from .enginewords import session_topic
    from .executorlink import Links
    from .leaving import Leaving
    from .ownedtasks import Tasks

    token = secrets.token_hex(16)
    leaving = Leaving(with_parent=os.environ.get("IS_FORKED") == "1")
    name = f"python-executor-{orders.identifier or orders.session_id}-{secrets.token_hex(4)}"
    bridge: Bridge
    broker = Broker(
        orders.address,
        name,
        heard=lambda topic, payload: bridge.heard(topic, payload),
        back=lambda: bridge.back(),
    )

    async def admit(path: str, headers: Mapping[str, str]) -> HttpAnswer | object:
        given = headers.get("authorization", "").encode("utf-8", "surrogateescape")
        if not secrets.compare_digest(given, f"Bearer {token}".encode()):
            return HttpAnswer(401, b"this is for the executor processes of one bridge\n")
        return True

    async def serve_root(digest: str, root: Path) -> None:
        await workers.serve_known([(digest, str(root))])

    async with AsyncExitStack() as stack:
        stack.enter_context(leaving)
        await stack.enter_async_context(broker)
        tasks = await stack.enter_async_context(Tasks())
        bridge = Bridge(orders, broker, tasks, serve_root)
        links = Links(token, bridge)

        def gone(link_id: str, reason: str) -> None:
            links.gone(link_id)
            bridge.gone(link_id, reason)

        port = await stack.enter_async_context(
            serve_websocket(links.serve, admit, "127.0.0.1", 0, max_message=MAX_MESSAGE)
        )
        # When the processes have left.
        stack.push_async_callback(broker.flush, _FLUSH)
        workers = Workers(
            f"ws://127.0.0.1:{port}", token, 1, gone=gone, mainframe_in_parent=True, sync_slots=_SYNC_SLOTS, grace=0.0
        )
        if orders.package is not None:
            bridge.knows(orders.package)
            await workers.serve_known([(digest_of(orders.package), str(orders.package))])
        session = session_topic(orders.session_id)
        await broker.subscribe("report", RUN_BLOCK, RUN_SERVICE, f"{session}/request/+/response")
        # Before a process is started, which would share the processor in the seconds that the engine gives.
        broker.send(session, bridge.ready_words())
        await stack.enter_async_context(workers)
        stack.callback(workers.hurry)
        await leaving.until(bridge.over)
        bridge.leave()
        asyncio.get_running_loop().call_later(_LEAVING, workers.kill)
    return leaving.code
