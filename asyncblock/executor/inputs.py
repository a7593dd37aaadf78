"""The inputs of a job: values that came with it, objects of this process, and large values that are fetched first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .. import offload
from ..context import JobInfo, dataframes
from ..errors import LocalProtocolError
from ..pieces import loads_blocks
from ..store import StoreKey
from ..wire.bodies import BodyRef
from ..wire.messages import Dispatch
from .confidential import holds_reference, resolve_inputs

if TYPE_CHECKING:
    from .executor import _Hosting

__all__ = ["gather_inputs"]


async def gather_inputs(hosting: _Hosting, info: JobInfo, message: Dispatch) -> dict[str, Any]:
    """Return a job's inputs by handle; bodies are fetched whole, and decoded on a worker thread.

    Raises ``LocalProtocolError`` for a reference that leads nowhere, ``Rejected`` when a body was pruned.
    """
    inputs: dict[str, Any] = {}
    searched: set[str] = set()
    for handle, value in message.inputs.items():
        key = StoreKey.match(value) if isinstance(value, dict) else None
        inputs[handle] = value if key is None else await _var(hosting, key)
    for handle, obj in message.bodies.items():
        ref = BodyRef.from_json(obj)
        if ref is None:
            raise LocalProtocolError(f"input {handle!r} came with a malformed body reference")
        link = hosting.link
        blocks = await link.io.run(link.downloads.fetch(ref))
        if ref.encoding == "raw":
            inputs[handle] = await offload.run_in_thread(b"".join, blocks)
            searched.add(handle)
        else:
            inputs[handle], found = await offload.run_in_thread(_decode, blocks)
            if not found:
                searched.add(handle)
    return await resolve_inputs(info, inputs, message.block.get("inputs_def_patch"), searched)


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


async def _var(hosting: _Hosting, key: StoreKey) -> object:
    """Return a var value: the very object, or one that an earlier run has kept."""
    try:
        return hosting.store.get(key)
    except LocalProtocolError:
        if key.cache is None:
            raise
    return await offload.run_in_thread(dataframes.load, hosting.places.values_dir(), key.cache)
