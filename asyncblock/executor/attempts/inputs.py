"""The inputs of a job: values that came with it, objects of this process, and large values that are fetched first.

Bytes for which the block has asked so arrive as files, which are there as long as the job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Set
from typing import Any

from ...body import Body
from ...context import JobInfo, dataframes
from ...errors import AsyncBlockError, LocalProtocolError, Unavailable
from ...link import Link
from ...runtime import offload
from ...runtime.scratch import FullDisk
from ...store import StoreKey
from ...values.pieces import loads_blocks
from ...varvalues.detached import detached, is_quick
from ...varvalues.valueid import ValueId
from ...wire.bodies import BodyRef
from ...wire.messages import Dispatch
from ..environment import Environment
from ..secrets.confidential import holds_reference, resolve_inputs

__all__ = ["HeldInputs", "gather_inputs"]


class HeldInputs:
    """What the inputs of one job are as long as it runs: files, and var values that don't go to the disk meanwhile."""

    __slots__ = ("_bodies", "_environment", "_values")

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._bodies: list[Body] = []
        self._values: list[StoreKey] = []

    def use(self, key: StoreKey) -> Any:
        """Return what is kept of a var value. Raises ``LocalProtocolError`` when it isn't in this process."""
        value = self._environment.store.use(key)
        self._values.append(key)
        return value

    async def fetch(self, handle: str, ref: BodyRef, link: Link) -> Body:
        """Fetch a body into a file, however long it takes until the disk has room.

        **Cancellation** is safe.
        Raises ``Unavailable`` when the disk refuses, or has had no room for too long; ``Rejected`` when it was pruned.
        """
        disk = FullDisk(f"input {handle!r} of {ref.length} bytes")
        while True:
            try:
                body = await self._fetch(ref, link)
            except OSError as error:
                if isinstance(error, AsyncBlockError):
                    raise
                await asyncio.sleep(_pause(disk, error, f"input {handle!r} of {ref.length} bytes"))
            else:
                disk.over()
                return body

    async def _fetch(self, ref: BodyRef, link: Link) -> Body:
        body = Body(await offload.wait_in_thread(self._environment.scratch.new_path), ref.length)
        self._bodies.append(body)
        try:
            await link.io.run(link.downloads.save(ref, body.path))
        except OSError:
            # What came of it takes room that is wanted.
            self._bodies.remove(body)
            self._environment.remove_soon([body.path])
            raise
        return body

    def end(self) -> None:
        """Let go of them: the job is over."""
        values, self._values = self._values, []
        if values:
            self._environment.store.use_no_more(values)
        bodies, self._bodies = self._bodies, []
        for body in bodies:
            body.end("the job has ended")
        if bodies:
            self._environment.remove_soon([body.path for body in bodies])


async def gather_inputs(
    environment: Environment, info: JobInfo, message: Dispatch, wanted: Set[str], held: HeldInputs
) -> dict[str, Any]:
    """Return a job's inputs by handle; bodies are fetched whole, and decoded on a worker thread.

    The ``wanted`` ones are ``held`` as files. Raises ``LocalProtocolError`` for a reference that leads nowhere and for
    a wanted input that isn't bytes; ``Rejected`` when a body was pruned.
    """
    inputs: dict[str, Any] = {}
    searched: set[str] = set()
    for handle, value in message.inputs.items():
        if handle in wanted and value is not None:
            raise _no_bytes(handle)
        key = StoreKey.match(value) if isinstance(value, dict) else None
        if key is None:
            inputs[handle] = value
        else:
            inputs[handle] = await _var(environment, info, key, _sources(message, handle), held)
    link = environment.links.of(info.session_id)
    for handle, obj in message.bodies.items():
        ref = BodyRef.from_json(obj)
        if ref is None:
            raise LocalProtocolError(f"input {handle!r} came with a malformed body reference")
        if handle in wanted:
            if ref.encoding != "raw":
                raise _no_bytes(handle)
            inputs[handle] = await held.fetch(handle, ref, link)
            searched.add(handle)
            continue
        blocks = await link.io.run(link.downloads.fetch(ref))
        if ref.encoding == "raw":
            inputs[handle] = await offload.run_in_thread(b"".join, blocks)
            searched.add(handle)
        else:
            inputs[handle], found = await offload.run_in_thread(_decode, blocks)
            if not found:
                searched.add(handle)
    return await resolve_inputs(info, inputs, message.block.get("inputs_def_patch"), searched)


def _pause(disk: FullDisk, error: OSError, what: str) -> float:
    try:
        return disk.pause(error)
    except OSError:
        words = f"{what} can't be put into a file: {error}"
        raise Unavailable(f"{words}. Make room, or name another directory by ASYNCBLOCK_BODIES_DIR") from error


def _no_bytes(handle: str) -> LocalProtocolError:
    return LocalProtocolError(
        f"input {handle!r} is annotated as Body, but JSON came for it: only bytes come as a file, from an "
        "output whose handle is declared as oomol/bin"
    )


def _decode(blocks: list[bytes]) -> tuple[Any, bool]:
    """Decode a value, and tell whether a reference to a secret stands in it."""
    return loads_blocks(blocks), _any_holds(blocks)


def _any_holds(blocks: Iterable[bytes]) -> bool:
    tail = b""
    for block in blocks:
        # A reference may lie across two blocks.
        if holds_reference(block) or holds_reference(tail + block[:32]):
            return True
        tail = block[-32:]
    return False


def _sources(message: Dispatch, handle: str) -> tuple[object, BodyRef | None]:
    """Return the name of a value's file, and the body of one. Raises ``LocalProtocolError`` for what is none."""
    obj = message.carried.get(handle)
    ref = None if obj is None else BodyRef.from_json(obj)
    if obj is not None and ref is None:
        raise LocalProtocolError(f"input {handle!r} came with a malformed body reference")
    return message.files.get(handle), ref


async def _var(
    environment: Environment, info: JobInfo, key: StoreKey, sources: tuple[object, BodyRef | None], held: HeldInputs
) -> object:
    """Return a var value, or what a file has of it beyond its process; what its consumer changes is its consumer's."""
    try:
        if key.session_id != info.session_id:
            raise LocalProtocolError(
                f"a var value of session {key.session_id} can't be had in session {info.session_id}"
            )
        return await _detached(held.use(key))
    except LocalProtocolError:
        own = key.session_id == info.session_id and key.attempt is not None and key.place is not None
        if own and sources != (None, None):
            return await _moved(environment, key, *sources, held)
        if key.cache is None:
            raise
    return await offload.run_in_thread(dataframes.load, environment.directories.values_dir(), key.cache)


async def _detached(value: object) -> object:
    return detached(value) if is_quick(value) else await offload.run_in_thread(detached, value)


async def _moved(environment: Environment, key: StoreKey, file: object, ref: BodyRef | None, held: HeldInputs) -> Any:
    """Return a value of another process, by its file on this host or by the body that came of it."""
    if isinstance(file, str):
        id = ValueId(key.session_id, key.job_id, key.attempt or 0, key.place or 0)
        try:
            return await offload.wait_in_thread(environment.depot.load, file, id)
        except LocalProtocolError:
            if ref is None:
                raise
    assert ref is not None
    for again in (True, False):
        filed = await environment.fetch_value(key, ref)
        try:
            return await _detached(held.use(key))
        except LocalProtocolError:
            # Let go in between: the session has ended, or the mainframe hadn't heard yet that it is here.
            try:
                return await offload.wait_in_thread(filed.load)
            except LocalProtocolError:
                # So was its file.
                if not again:
                    raise
    raise AssertionError("the last try returns or raises")
