"""Values that flows hand on, found again by reference: a bounded memory of recent records before the journal."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import orjson

from ..journal import Journal

__all__ = ["Found", "Values", "value_in"]

_BUDGET = 16 << 20
"""Bytes of records kept in memory, with ``_OVERHEAD`` for each; the others are read from the journal again."""

_AHEAD = 1000
"""Records behind one that was read from the journal which are kept as well, as long as they take a quarter of the
memory at most: queues are first in, first out."""

_OVERHEAD = 600
"""Bytes that a small record takes beyond its JSON: its dict, strings and numbers, its key and its place."""


@dataclass(frozen=True, slots=True)
class Found:
    """A value, or the reference of the body that holds it."""

    value: Any = None
    body: dict[str, Any] | None = None


Key = tuple[int, int, int, int]
"""Session number, row offset, line in the row, record in the line."""


class Values:
    """Recent records by place, with the link that sent them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._kept: OrderedDict[Key, tuple[dict[str, Any], str, int]] = OrderedDict()
        self.size = 0
        """Bytes that the records kept take, about."""

    def keep(self, key: Key, record: dict[str, Any], link_id: str, size: int) -> None:
        """Remember a record that somebody will ask for."""
        if key in self._kept:
            return
        size += _OVERHEAD
        self._kept[key] = (record, link_id, size)
        self.size += size
        while self.size > _BUDGET and len(self._kept) > 1:
            _, (_, _, dropped) = self._kept.popitem(last=False)
            self.size -= dropped

    def recall(self, key: Key, handle: str) -> Found | None:
        """Return a value if its record is in memory."""
        kept = self._kept.get(key)
        return None if kept is None else value_in(kept[0], handle, kept[1])

    async def load(self, key: Key, handle: str) -> Found:
        """Return a value, from the journal if need be."""
        found = self.recall(key, handle)
        if found is not None:
            return found
        session_no, offset, line, index = key
        text = (await self._journal.entry(session_no, offset)).split(b"\n")[line]
        obj = orjson.loads(text)
        records, link_id = obj["records"], obj["link"]
        # A value at a time, a queue of 50,000 would read and parse this row of some 500 as often (dispatch).
        size = len(text) // len(records)
        ahead = min(_AHEAD, _BUDGET // 4 // (size + _OVERHEAD) + 1)
        for place, record in enumerate(records[index : index + ahead], index):
            self.keep((session_no, offset, line, place), record, link_id, size)
        return value_in(records[index], handle, link_id)


_VALUES = {"BlockOutputs": "outputs", "BlockFinished": "result", "BlockArguments": "values"}


def value_in(record: dict[str, Any], handle: str, link_id: str) -> Found:
    """Find a handle's value in a record that carries values."""
    if record["type"] == "BlockOutput":
        if "body" in record:
            return Found(body={**record["body"], "link": link_id})
        return Found(record["output"])
    values = record.get(_VALUES[record["type"]])
    if values is not None and handle in values:
        return Found(values[handle])
    return Found(body={**record["bodies"][handle], "link": link_id})
