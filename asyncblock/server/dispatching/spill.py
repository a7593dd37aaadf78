"""Values that are small one by one and too large together for a message: the largest of them become bodies.

Such a body is the mainframe's own. It is named by its content, so that saying the same again makes nothing twice, and
lives as long as its session.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from ..committing.values import Found
from ..journal import BodyKey, BodyRow, Journal, Write
from ..serverlimits import INLINE_BYTES

__all__ = ["sizes", "spill"]

_PIECE = 256 << 10
"""Bytes written at once."""


def sizes(found: dict[str, Found]) -> dict[str, int]:
    """Return the encoded lengths of the values that aren't bodies."""
    return {handle: len(orjson.dumps(each.value)) for handle, each in found.items() if each.body is None}


async def spill(journal: Journal, session_no: int, session_id: str, found: dict[str, Found]) -> dict[str, Found]:
    """Make bodies of the largest values until the others fit into a message.

    **Durability**: what names the bodies may be committed or sent when it returns.
    **Cancellation** leaves bodies that the next attempt finds.
    """
    measured = sizes(found)
    total = sum(measured.values())
    made = dict(found)
    write = Write()
    for handle in sorted(measured, key=measured.__getitem__, reverse=True):
        if total <= INLINE_BYTES:
            break
        total -= measured[handle]
        made[handle] = Found(body=await _store(journal, write, session_no, session_id, found[handle].value))
    journal.write(write)
    await journal.flush()
    return made


async def _store(journal: Journal, write: Write, session_no: int, session_id: str, value: Any) -> dict[str, Any]:
    data = orjson.dumps(value)
    digest = hashlib.sha256(data).hexdigest()
    # 52 bits, which every peer's numbers hold exactly; zero is no number of a body.
    key = BodyKey(f"mainframe-{session_id}", int(digest[:13], 16) or 1)
    for start in range(0, len(data), _PIECE):
        await journal.bodies.write(key, start, data[start : start + _PIECE])
    await journal.bodies.finish(key, len(data), digest)
    write.body(BodyRow(session_no=session_no, link_id=key.link_id, n=key.n, length=len(data), sha256=digest))
    return {"n": key.n, "length": len(data), "sha256": digest, "encoding": "json", "link": key.link_id}
