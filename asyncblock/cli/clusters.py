"""What the commands about sets do: make one in a NATS cluster, examine it."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from ..errors import LocalProtocolError, Unavailable
from ..resources import size_of
from ..server.cluster.beats import hand_over_subject
from ..server.cluster.clusterservers import ClusterServers
from ..server.cluster.clusterset import make_set
from ..server.cluster.importing import import_sessions
from ..server.cluster.members import ClusterMember
from ..server.cluster.monitoring import check_sync
from ..server.cluster.setstatus import SetStatus, set_status
from ..server.jetstream import Demands, Overtaken, PartitionNames
from ..server.jetstream.natsstore import NatsStore, NatsUnsure
from ..server.settings import Settings
from ..transport.addresses import split_address
from .doctor import MAX_SKEW, Finding
from .interrupts import Interrupts

__all__ = ["ClusterPlace", "hand_over", "import_directory", "init", "status"]

_NEARLY_FULL = 0.9
"""Of ``max_bytes``: the journal stops intake when a stream is full."""

_ANSWER = 1.0
"""Seconds that the owner has to say that it hands over."""

_HANDED_OVER = 60.0
"""Seconds until another one owns it."""


@dataclass(frozen=True, slots=True)
class ClusterPlace:
    """Where a member of a set keeps its journal, as ``serve`` was told."""

    given: str
    set_name: str
    partitions: int | None = None
    advertise: str | None = None

    def member(self, directory: Path, settings: Settings, host: str, port: int, *, secure: bool) -> ClusterMember:
        """Return the member that is served from a directory.

        Raises ``LocalProtocolError`` for what isn't an address or a name.
        """
        servers = ClusterServers.read(self.given)
        PartitionNames(self.set_name)
        address = self.advertise
        if address is not None:
            split_address(address)
        elif host in ("0.0.0.0", "::", ""):
            # Others on the way to it need a name.
            if not port:
                raise LocalProtocolError("say with --advertise by which address others reach this mainframe")
            address = f"{'wss' if secure else 'ws'}://{socket.gethostname()}:{port}"
        return ClusterMember(directory, servers, self.set_name, settings, partitions=self.partitions, advertise=address)


@asynccontextmanager
async def _connected(servers: ClusterServers) -> AsyncIterator[NatsStore]:
    store = await NatsStore.open(servers.urls, name="asyncblock cluster", **servers.who)
    try:
        yield store
    finally:
        await store.close()


async def init(
    given: str,
    name: str,
    *,
    partitions: int,
    replicas: int,
    max_bytes: str | None,
    monitoring: str | None,
    sync_always: bool,
    insecure: bool,
    json: bool,
) -> int:
    """Make a set."""
    servers = ClusterServers.read(given)
    PartitionNames(name)
    if partitions > 1:
        # Members can own several, and clients and executors have a link to each. Slots are shared, but each partition
        # counts processes for blocks, and what executors offer, alone: two could give one GPU twice.
        raise Unavailable(f"partitions is 1, not {partitions}: a set has one owner at a time so far")
    limit = -1
    if max_bytes is not None:
        found = size_of(max_bytes)
        if not found:
            raise LocalProtocolError(f"--max-bytes is a size (512MiB, 50GiB), not {max_bytes!r}")
        limit = found
    watched = [each.strip() for each in (monitoring or "").split(",") if each.strip()]
    if watched and len(watched) < replicas:
        raise LocalProtocolError(f"--monitoring names {len(watched)} servers; name all, {replicas} at least")
    if not watched and not sync_always:
        raise Unavailable(
            "with their default sync_interval NATS servers acknowledge what isn't on disk. Set 'sync_interval: always' "
            "in the jetstream block of each; then say so with --sync-always, or let --monitoring "
            "http://A:8222,http://B:8222,... look"
        )
    demands = Demands(
        servers_sync_always=True,
        auth_required=bool(servers.who) or not (servers.local or insecure),
        replicas=replicas,
        max_bytes=limit,
    )
    with Interrupts():
        await check_sync(watched)
        async with _connected(servers) as store:
            made = await make_set(store, name, partitions, demands, sync_seen=bool(watched))
    if json:
        print(orjson.dumps(_shown(asdict(made))).decode())
    else:
        print(
            f"set {name} is made: partitions {partitions}, replicas {replicas}. Serve it on two machines or more:\n"
            f"  asyncblock serve --cluster {servers} --name {name}"
        )
    return 0


async def status(given: str, name: str, json: bool) -> int:
    """Examine a set; return 0 when all is well."""
    servers = ClusterServers.read(given)
    with Interrupts():
        async with _connected(servers) as store:
            found = await set_status(store, name)
    findings = [*findings_of_set(found)]
    if json:
        told = _shown(asdict(found))
        print(orjson.dumps({**told, "findings": [asdict(each) for each in findings]}).decode())
    else:
        for each in findings:
            print(f"{'ok ' if each.ok else 'BAD'}  {each.name:<9}  {each.words}")
    return 0 if all(each.ok for each in findings) else 1


async def hand_over(given: str, name: str, to: str | None) -> int:
    """Ask the owner of a set to hand over, and wait until another one owns it."""
    servers = ClusterServers.read(given)
    with Interrupts():
        async with _connected(servers) as store:
            found = await set_status(store, name)
            if found.description.partitions > 1:
                raise Unavailable(
                    f"set {name} has {found.description.partitions} partitions, and its members spread them evenly "
                    "again: stop a member (SIGTERM), and it hands over what it owns"
                )
            owner = found.owner_of(0)
            if owner is None:
                raise Unavailable(f"no member owns set {name}, so none can hand it over: asyncblock cluster status")
            heirs = [each for each in found.members if each.state == "standby"]
            if to is not None:
                heirs = [each for each in heirs if to in (each.member, each.address)]
            if not heirs:
                whom = "no member" if to is None else f"no {to}"
                raise Unavailable(f"{whom} stands by in set {name}; the owner is {owner.member} at {owner.address}")
            heir = heirs[0]
            subject = hand_over_subject(found.description.names(0))
            try:
                answers = await store.answers(subject, orjson.dumps({"to": heir.member}), _ANSWER)
            except NatsUnsure as unsure:
                raise Unavailable(f"the owner can't be asked: {unsure}") from unsure
            if not answers:
                raise Unavailable(f"{owner.member} didn't answer: asyncblock cluster status")
            async with asyncio.timeout(_HANDED_OVER):
                while (now := (await set_status(store, name)).owner_of(0)) is None or now.state != "owner":
                    continue
    print(f"set {name}: {now.member} at {now.address} owns it, in place of {owner.member}")
    return 0 if now.member == heir.member else 1


async def import_directory(given: str, name: str, data_dir: Path, json: bool) -> int:
    """Copy the ended sessions of a data directory into a set; return 1 when some hadn't ended."""
    servers = ClusterServers.read(given)
    if not (data_dir / "journal.db").is_file():
        raise Unavailable(f"there is no journal in {data_dir}; name a data directory (asyncblock serve --data-dir)")
    with Interrupts():
        async with _connected(servers) as store:
            found = await set_status(store, name)
        if found.members:
            served = ", ".join(f"{each.member} ({each.state})" for each in found.members)
            raise Unavailable(f"set {name} is served by {served}; stop them while you import, and start them again")
        try:
            done = await import_sessions(servers, found.description, data_dir, say_trouble)
        except Overtaken as error:
            raise Unavailable(
                f"{error}; stop it, and import again: what is there stays, and isn't copied twice"
            ) from error
    if json:
        print(orjson.dumps(done).decode())
    else:
        there = f"; {done.present} were there already" if done.present else ""
        print(f"{done.sessions} sessions and {done.bodies} bodies copied, {done.bytes:,} bytes{there}")
        if done.running:
            print(f"{done.running} sessions hadn't ended and stay in {data_dir}: let them end, and import again")
    return 1 if done.running else 0


def say_trouble(error: Exception) -> None:
    """Tell why it takes so long."""
    print(error, file=sys.stderr, flush=True)


def _shown(told: dict[str, Any]) -> dict[str, Any]:
    """Leave out what mustn't be printed."""
    return {
        name: _shown(value) if isinstance(value, dict) else value for name, value in told.items() if name != "token"
    }


def findings_of_set(status: SetStatus) -> Iterator[Finding]:
    """Say what of a set is well, and what isn't."""
    description = status.description
    version = ".".join(map(str, status.version))
    auth = "asks who comes" if status.auth_required else "lets anybody in"
    yield Finding("server", True, f"nats-server {version}, max_payload {status.max_payload:,}, {auth}")
    seen = "as their monitoring said" if description.sync_seen else "as the operator said"
    yield Finding("sync", True, f"always, {seen} when the set was made")
    for problem in status.problems:
        yield Finding("setting", False, problem)
    for stream in status.streams:
        wanted = description.replicas
        words = f"{stream.stream}: {stream.replicas} of {wanted} replicas are up to date"
        if stream.replicas < wanted:
            which = f" ({', '.join(stream.behind)})" if stream.behind else ""
            yield Finding("replicas", False, f"{words}{which}; start those servers, or replace them")
        else:
            yield Finding("replicas", True, f"{words}, leader {stream.leader or 'the only server'}")
        used = f"{stream.stream}: {stream.bytes:,} bytes in {stream.messages:,} messages"
        if stream.max_bytes <= 0:
            yield Finding("room", True, f"{used}, no limit but the account's and the disk's")
        elif stream.bytes > _NEARLY_FULL * stream.max_bytes:
            words = f"{used} of max_bytes {stream.max_bytes:,}; prune sessions, or raise it"
            yield Finding("room", False, words)
        else:
            yield Finding("room", True, f"{used} of max_bytes {stream.max_bytes:,}")
    yield from _of_members(status)


def _of_members(status: SetStatus) -> Iterator[Finding]:
    for partition in range(status.description.partitions):
        owner = status.owner_of(partition)
        if owner is None:
            words = f"partition {partition}: no member owns it; start 'asyncblock serve --cluster ... --name ...'"
            yield Finding("owner", False, words)
        else:
            words = f"partition {partition}: {owner.member} at {owner.address}, term {owner.term}"
            yield Finding(
                "owner", owner.state == "owner", words + ("" if owner.state == "owner" else f", {owner.state}")
            )
        standing_by = [
            each for each in status.members if each.partition == partition and each.state in ("standby", "claiming")
        ]
        for each in standing_by:
            yield Finding("standby", True, f"partition {partition}: {each.member} at {each.address}")
        if owner is not None and not standing_by:
            words = f"partition {partition}: no member stands by; serve the set on another machine"
            yield Finding("standby", False, words)
    apart = {each.member: each.skew for each in status.members if abs(each.skew) > MAX_SKEW}
    for member, skew in apart.items():
        words = (
            f"{member} is {abs(skew):,.0f} s {'ahead' if skew > 0 else 'behind'}; times of events will confuse people"
        )
        yield Finding("clock", False, f"{words}: run NTP there")
