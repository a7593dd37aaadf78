"""Who comes to a member of a set, and for which partition: the one that a header names, or else the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ...transport import Transport
from ...transport.upgrades import PARTITION_HEADER
from ...transport.websocket import HttpAnswer
from ..peers.access import Access
from ..reception.metrics import OPENMETRICS, TEXT, parts_text
from .partitionmember import PartitionMember

__all__ = ["MemberDoor"]


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who comes with a websocket, and for which partition."""

    partition: PartitionMember
    principal: object


class MemberDoor:
    """Decides about every HTTP request of a member that stands by or owns."""

    def __init__(self, partitions: Sequence[PartitionMember], access: Access, set_name: str) -> None:
        self._partitions = partitions
        self._access = access
        self._set_name = set_name

    async def admit(self, path: str, headers: Mapping[str, str]) -> HttpAnswer | object:
        """Answer a request, or return who comes with a websocket. **Cancellation** is safe."""
        named = headers.get(PARTITION_HEADER.lower())
        if named is None and len(self._partitions) > 1:
            match path.split("?", 1)[0]:
                case "/healthz":
                    return self._health()
                case "/metrics" if self._access.principal(headers) is not None:
                    return self._metrics(headers.get("accept", ""))
        partition = self._named(named)
        if partition is None:
            if self._access.principal(headers) is None:
                return HttpAnswer(401, b"a valid token is needed: 'Authorization: Bearer TOKEN'\n")
            most = len(self._partitions) - 1
            return HttpAnswer(400, f"{PARTITION_HEADER} is a number from 0 to {most}, not {named!r:.100}\n".encode())
        found = await partition.admit(path, headers)
        return found if isinstance(found, HttpAnswer) else _Caller(partition, found)

    async def serve(self, transport: Transport, caller: object) -> None:
        """Serve a connection until it ends. **Cancellation** leaves it to a task of the mainframe's."""
        assert isinstance(caller, _Caller)
        await caller.partition.serve(transport, caller.principal)

    def _named(self, named: str | None) -> PartitionMember | None:
        number = named or "0"
        right = number.isascii() and number.isdecimal() and len(number) < 6 and int(number) < len(self._partitions)
        return self._partitions[int(number)] if right else None

    def _health(self) -> HttpAnswer:
        """Say how the member is, whatever it owns."""
        trouble = next((each.trouble for each in self._partitions if each.trouble is not None), None)
        owned = [each.partition for each in self._partitions if each.speaks]
        body: dict[str, Any] = {
            "status": "trouble" if trouble is not None else "ok" if owned else "standby",
            "trouble": trouble,
            "set": self._set_name,
            "partitions": len(self._partitions),
            "owned": owned,
        }
        return HttpAnswer(200 if trouble is None else 503, orjson.dumps(body), "application/json")

    def _metrics(self, accepted: str) -> HttpAnswer:
        openmetrics = "application/openmetrics-text" in accepted
        parts = {
            str(each.partition): (each.server if each.speaks else None, each.standing) for each in self._partitions
        }
        text = parts_text(parts, openmetrics=openmetrics)
        return HttpAnswer(200, text.encode(), OPENMETRICS if openmetrics else TEXT)
