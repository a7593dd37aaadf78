"""How a set is: what its streams' servers say, and the members that beat while it was listened."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from ...errors import Unavailable
from ..jetstream.natsstore import NatsRefused, NatsStore, NatsUnsure
from ..jetstream.partitionstream import check_streams
from .beats import HeardBeat, beat_subject, decode_beat
from .clusterset import SetDescription, read_set
from .ownership import BEAT

__all__ = ["MemberStatus", "SetStatus", "StreamStatus", "set_status"]

_LISTEN = 4 * BEAT


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """A member that was heard."""

    partition: int
    member: str
    state: str
    address: str
    term: int
    skew: float
    """Seconds by which its clock is ahead of ours."""


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """A stream, as its leader says."""

    stream: str
    leader: str
    replicas: int
    """Of the leader and those that follow it, how many are up to date."""
    behind: tuple[str, ...]
    """Servers that aren't: their names, and by how much."""
    messages: int
    bytes: int
    max_bytes: int


@dataclass(slots=True)
class SetStatus:
    """All of it."""

    description: SetDescription
    version: tuple[int, int]
    max_payload: int
    auth_required: bool
    streams: list[StreamStatus] = field(default_factory=list)
    members: list[MemberStatus] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Settings and streams that can't keep the promise, in words."""

    def owner_of(self, partition: int) -> MemberStatus | None:
        """Return the owner of a partition that was heard: of several the one of the newest term."""
        owners = [each for each in self.members if each.partition == partition and each.state in _OWNS]
        return max(owners, key=lambda each: each.term, default=None)


_OWNS = frozenset({"owner", "opening", "in doubt", "handing over"})


async def set_status(store: NatsStore, name: str) -> SetStatus:
    """Look at a set, and listen for its members. **Cancellation** is safe.

    Raises ``Unavailable`` when there is no such set, or the servers don't answer.
    """
    description = await read_set(store, name)
    status = SetStatus(description, store.version, store.max_payload, store.auth_required)
    heard: dict[tuple[int, str], HeardBeat] = {}
    skews: dict[str, float] = {}
    for partition in range(description.partitions):

        async def hear(data: bytes, _: str, partition: int = partition) -> None:
            found = decode_beat(data)
            if found is not None:
                heard[partition, found.beat.member] = found
                skews[found.beat.member] = found.clock / 1000 - time.time()

        await store.listen(beat_subject(description.names(partition)), hear)
    try:
        for partition in range(description.partitions):
            names = description.names(partition)
            for stream in (names.stream, names.bodies):
                status.streams.append(await _stream(store, stream))
            try:
                await check_streams(store, names, description.demands)
            except Unavailable as error:
                status.problems.append(str(error))
    except NatsUnsure as unsure:
        raise Unavailable(f"the streams of set {name} have no leader, or don't answer: {unsure}") from unsure
    except NatsRefused as refused:
        raise Unavailable(f"a stream of set {name} is gone, or not ours to see: {refused}") from refused
    await asyncio.sleep(_LISTEN)
    for (partition, member), each in sorted(heard.items()):
        beat = each.beat
        status.members.append(
            MemberStatus(partition, member, beat.state, beat.address, beat.term, round(skews[member], 3))
        )
    return status


async def _stream(store: NatsStore, stream: str) -> StreamStatus:
    info = await store.ask(f"STREAM.INFO.{stream}")
    cluster = info.get("cluster") or {}
    followers = cluster.get("replicas") or []
    behind = tuple(_lag(each) for each in followers if each.get("offline") or not each.get("current"))
    return StreamStatus(
        stream=stream,
        leader=cluster.get("leader", ""),
        replicas=1 + len(followers) - len(behind),
        behind=behind,
        messages=info["state"]["messages"],
        bytes=info["state"]["bytes"],
        max_bytes=info["config"].get("max_bytes", -1),
    )


def _lag(follower: dict[str, Any]) -> str:
    how = "offline" if follower.get("offline") else f"{follower.get('lag', 0)} messages behind"
    return f"{follower['name']}: {how}"
