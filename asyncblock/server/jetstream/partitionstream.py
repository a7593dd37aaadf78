"""Makes a partition's streams, or checks in them every setting on which the promise depends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ...errors import Unavailable
from .natsstore import NatsRefused, NatsStore, NatsUnsure
from .streammessages import PartitionNames

__all__ = ["MIN_MAX_PAYLOAD", "Demands", "check_servers", "check_streams", "prepare_streams"]

MIN_MAX_PAYLOAD: Final = 8 << 20
"""A message of the wire has up to 4 MiB, and what is read from the leader comes in base64."""

_MIN_VERSION: Final = (2, 12)
"""The first with atomic batches."""

_NO_STREAM: Final = 10059
_TOO_FEW_SERVERS: Final = frozenset({10005, 10074})
"""There are fewer servers than replicas, or the server isn't in a cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What the servers have to keep."""

    servers_sync_always: bool
    """The operator vouches for it: servers don't report it. Without it a power loss may take what was acknowledged."""
    auth_required: bool = False
    """They have to authenticate each client."""
    replicas: int = 3
    max_bytes: int = -1
    """The most that the partition's rows and entries, and its bodies, may take each; -1 for what the account allows."""


def check_servers(store: NatsStore, demands: Demands) -> None:
    """Raise ``Unavailable`` with the name of the setting by which the servers can't keep the promise."""
    if not demands.servers_sync_always:
        raise Unavailable(
            "with their default sync_interval NATS servers acknowledge what isn't on disk; set 'sync_interval: always' "
            "in the jetstream block of each, and say so (servers_sync_always)"
        )
    if store.version < _MIN_VERSION:
        version = ".".join(map(str, store.version))
        raise Unavailable(f"the NATS server is of version {version}; atomic batches came with 2.12: update the servers")
    if store.max_payload < MIN_MAX_PAYLOAD:
        raise Unavailable(
            f"the NATS server's max_payload is {store.max_payload}; set 'max_payload: {MIN_MAX_PAYLOAD}' or more on all"
        )
    if demands.auth_required and not store.auth_required:
        raise Unavailable(
            "the NATS server asks for no credentials, so anyone could read and change everything; set 'authorization' "
            "or 'accounts' in its configuration and give user and password in the address (nats://USER:PASSWORD@HOST)"
        )


async def prepare_streams(store: NatsStore, names: PartitionNames, demands: Demands) -> None:
    """Make the streams of a partition, or check those there. Making them again changes nothing.

    **Durability**: they are there when it returns. **Cancellation** may leave one of two; the next call adds the other.
    Raises ``Unavailable`` with the name of the setting that can't keep the promise.
    """
    check_servers(store, demands)
    try:
        await store.ask("INFO")
        for stream, subjects in _streams(names):
            await _prepare(store, stream, subjects, demands)
    except NatsRefused as refused:
        hint = ""
        if refused.code in _TOO_FEW_SERVERS:
            hint = (
                f"; num_replicas {demands.replicas} needs as many servers in one cluster ('cluster' in the "
                "configuration of each): with replicas 1 everything is lost with one disk"
            )
        raise Unavailable(f"JetStream refuses the streams of {names.stream}: {refused}{hint}") from refused
    except NatsUnsure as unsure:
        raise Unavailable(
            f"the NATS server at hand has no JetStream, or no leader: {unsure}; set 'jetstream' in its configuration"
        ) from unsure


async def check_streams(store: NatsStore, names: PartitionNames, demands: Demands) -> None:
    """Check the streams of a partition. Raises ``Unavailable``, ``NatsRefused``, ``NatsUnsure``."""
    for stream, subjects in _streams(names):
        _check(stream, (await store.ask(f"STREAM.INFO.{stream}"))["config"], _wanted(subjects), demands)


def _streams(names: PartitionNames) -> list[tuple[str, list[str]]]:
    subjects = [names.own, names.meta, names.entries("*"), names.snapshots("*")]
    return [(names.stream, subjects), (names.bodies, [names.body("*", "*")])]


def _wanted(subjects: list[str]) -> dict[str, Any]:
    return {
        "subjects": sorted(subjects),
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_consumers": -1,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_age": 0,
        "max_msg_size": -1,
        "no_ack": False,
        "sealed": False,
        "deny_purge": False,
        "allow_atomic": True,
    }


async def _prepare(store: NatsStore, stream: str, subjects: list[str], demands: Demands) -> None:
    wanted = _wanted(subjects)
    try:
        found = (await store.ask(f"STREAM.INFO.{stream}"))["config"]
    except NatsRefused as refused:
        if refused.code != _NO_STREAM:
            raise
        config = {**wanted, "name": stream, "num_replicas": demands.replicas, "max_bytes": demands.max_bytes}
        found = (await store.ask(f"STREAM.CREATE.{stream}", config))["config"]
    _check(stream, found, wanted, demands)


def _check(stream: str, found: dict[str, Any], wanted: dict[str, Any], demands: Demands) -> None:
    replicas = found.get("num_replicas", 1)
    if replicas < demands.replicas:
        raise Unavailable(f"stream {stream} has num_replicas {replicas}; {demands.replicas} are asked for")
    for setting, value in wanted.items():
        # An answer leaves out settings that are false or zero.
        there = found.get(setting, type(value)())
        if setting == "subjects":
            there = sorted(there)
        if there != value:
            raise Unavailable(f"stream {stream} has {setting} {there!r}; the journal needs {value!r}")
    for setting in ("mirror", "sources", "republish", "subject_transform", "subject_delete_marker_ttl"):
        if found.get(setting):
            raise Unavailable(f"stream {stream} has {setting}; the journal needs a stream of its own")
    if found.get("persist_mode", "default") != "default":
        raise Unavailable(f"stream {stream} has persist_mode {found['persist_mode']!r}; the journal needs 'default'")
