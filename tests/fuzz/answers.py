"""Checks what a mainframe says, whatever was said to it: each line fits the schema, each answer its request."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import Any

import jsonschema_rs
import orjson

from asyncblock.wire.describe import json_schema
from asyncblock.wire.methods import METHODS

from ..peers import Peer

__all__ = ["CheckedPeer"]

_COMMON = {"method", "params", "unauthorized"}
"""Codes that may answer each request; ``failed`` is the mainframe's defect."""


class CheckedPeer(Peer):
    """A peer that fails where what comes to it isn't as the reference says."""

    def __init__(self, transport: Any) -> None:
        super().__init__(transport)
        self._methods: dict[str, set[str]] = defaultdict(set)
        """What was asked under each id."""

    async def send(self, lines: list[bytes]) -> None:
        """Send a message of control lines, and take note of what it asks."""
        header = orjson.loads(lines[0])
        if header["op"] == "request":
            self._methods[header["id"]].add(header["method"])
        await self.transport.send(b"\n".join(lines))

    async def say(self, op: str, **fields: object) -> None:
        """Send a control line, likewise."""
        await self.send([orjson.dumps({"op": op, **fields})])

    async def _receive(self) -> None:
        before = len(self.came)
        await super()._receive()
        for message in self.came[before:]:
            if message["op"] != "chunk":
                self._check(message)

    def _check(self, message: dict[str, Any]) -> None:
        line = {key: value for key, value in message.items() if key != "data"}
        assert _valid("down", line), line
        for row in message["data"]:
            assert _valid("row", row), row
        if message["op"] == "reply":
            asked = self._methods[message["id"]]
            if message["error"] is None:
                assert any(_valid(f"result.{method}", message["result"]) for method in asked), (asked, message)
            else:
                codes = _COMMON.union(*(METHODS[method].errors for method in asked if method in METHODS))
                assert message["error"]["code"] in codes, (asked, message)


def _valid(name: str, value: object) -> bool:
    return bool(_validator(name).is_valid(value))


@cache
def _validator(name: str) -> Any:
    return jsonschema_rs.validator_for({**json_schema(), "anyOf": [{"$ref": f"#/$defs/{name}"}]})
