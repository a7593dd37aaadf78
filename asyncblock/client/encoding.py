"""JSON of what a client gives a mainframe: small values at once, large ones on a worker thread."""

from __future__ import annotations

from typing import Any

import orjson

from ..body import Body
from ..errors import PayloadTooLarge, UnserializableValue
from ..runtime.offload import run_in_thread
from ..values import dumps, is_small, loads
from ..values.pieces import dumps_pieces, paced
from ..wire.frames import MAX_MESSAGE

__all__ = ["encoded"]


async def encoded(value: object, name: str) -> Any:
    """Make JSON of an input, a large one on a worker thread."""
    if isinstance(value, (bytes, bytearray, memoryview, Body)):
        reason = "inputs from outside travel as JSON; hand over a path, and let the first node make bytes of it"
        raise UnserializableValue(reason, handle=name)
    return loads(dumps(value, handle=name)) if is_small(value) else await run_in_thread(_encode_large, value, name)


def _encode_large(value: object, name: str) -> orjson.Fragment:
    data = bytearray()
    for piece in paced(dumps_pieces(value, handle=name)):
        data += piece
        if len(data) > MAX_MESSAGE:
            raise PayloadTooLarge(f"the input {name!r}", size=len(data), limit=MAX_MESSAGE)
    return orjson.Fragment(bytes(data).replace(b"\n", b""))
