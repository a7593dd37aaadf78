"""A set: the mainframes that share one journal in a NATS cluster, as its bucket describes it.

The description is written once, by ``make_set``, after the streams are there, and never changed: whoever reads it finds
a set that is whole. The bucket is one of NATS's key-value buckets, so that ``nats kv`` shows it.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from ...errors import Unavailable
from ...wire.placement import MAX_PARTITIONS
from ..jetstream import Demands, PartitionNames
from ..jetstream.natsstore import NatsRefused, NatsStore, NatsUnsure, StoreMessage
from ..jetstream.partitionstream import check_servers, prepare_streams

__all__ = ["SetDescription", "make_set", "read_set"]

_NO_STREAM: Final = 10059

_REPLICAS: Final = (1, 3, 5)
"""An even number bears as many deaths as the odd one below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetDescription:
    """What a set is. All of its members go by it."""

    name: str
    epoch: str
    """The identity of its journal."""
    token: str
    """A token with all roles. It is no secret from those that can read this: they can write the journal, too."""
    partitions: int
    replicas: int
    max_bytes: int
    """The most that each stream may take; -1 for what the account allows."""
    auth_required: bool
    sync_seen: bool
    """That the servers sync always was seen, when the set was made; else the operator has said so."""
    created_at: int

    @property
    def demands(self) -> Demands:
        """What the servers have to keep. That they sync always was said, or seen, when the set was made."""
        return Demands(
            servers_sync_always=True,
            auth_required=self.auth_required,
            replicas=self.replicas,
            max_bytes=self.max_bytes,
        )

    def names(self, partition: int) -> PartitionNames:
        """Return the names of a partition."""
        return PartitionNames(self.name, partition)


async def make_set(
    store: NatsStore, name: str, partitions: int, demands: Demands, *, sync_seen: bool = False
) -> SetDescription:
    """Make a set: its streams, its bucket, and then its description.

    **Durability**: it is there when it returns, and before that it isn't a set: call it again.
    **Cancellation** leaves it so. Raises ``Unavailable`` when the servers can't keep the promise, with the setting's
    name, or when there is such a set.
    """
    stream = PartitionNames(name).stream
    if demands.replicas not in _REPLICAS:
        raise Unavailable(f"replicas is 1, 3 or 5, not {demands.replicas}: an even number bears no more deaths")
    if not 1 <= partitions <= MAX_PARTITIONS:
        raise Unavailable(f"partitions is a number from 1 to {MAX_PARTITIONS}, not {partitions}")
    check_servers(store, demands)
    found = await _find(store, name)
    if found is not None:
        raise Unavailable(
            f"there is a set {name} in this cluster, with partitions {found.partitions} and replicas {found.replicas}; "
            f"serve it ('asyncblock serve --cluster ... --name {name}'), or choose another name"
        )
    for partition in range(partitions):
        await prepare_streams(store, PartitionNames(name, partition), demands)
    description = SetDescription(
        name=name,
        epoch=secrets.token_hex(8),
        token=secrets.token_urlsafe(32),
        partitions=partitions,
        replicas=demands.replicas,
        max_bytes=demands.max_bytes,
        auth_required=demands.auth_required,
        sync_seen=sync_seen,
        created_at=int(time.time() * 1000),
    )
    try:
        for partition in range(partitions):
            if await store.last_seq(PartitionNames(name, partition).stream):
                raise Unavailable(
                    f"stream {stream} holds messages, and no set {name} is described; choose another name, or "
                    "delete that stream if nobody needs it"
                )
        await store.ask(f"STREAM.CREATE.{_bucket(name)}", _bucket_config(name, demands.replicas))
        await store.append_to_subject(StoreMessage(_key(name), orjson.dumps(asdict(description))), 0)
    except NatsRefused as refused:
        if refused.overtaken:
            raise Unavailable(f"another command has just made a set {name}; choose another name") from refused
        raise Unavailable(f"JetStream refuses the bucket of set {name}: {refused}") from refused
    except NatsUnsure as unsure:
        raise Unavailable(f"it isn't known whether set {name} was made: {unsure}; try again") from unsure
    return description


async def read_set(store: NatsStore, name: str, partitions: int | None = None) -> SetDescription:
    """Read a set's description. **Cancellation** is safe.

    Raises ``Unavailable`` when there is no such set, when it has another number of ``partitions``, or when the servers
    don't keep what it demands.
    """
    found = await _find(store, name)
    if found is None:
        raise Unavailable(
            f"there is no set {name} in this cluster; make it with 'asyncblock cluster init ... --name {name}'"
        )
    if partitions not in (None, found.partitions):
        raise Unavailable(f"set {name} has partitions {found.partitions}, not {partitions}: the number stays as it was")
    check_servers(store, found.demands)
    return found


async def _find(store: NatsStore, name: str) -> SetDescription | None:
    PartitionNames(name)
    try:
        message = await store.get(_bucket(name), last_by_subj=_key(name))
    except NatsRefused as refused:
        if refused.code == _NO_STREAM:
            return None
        raise Unavailable(f"JetStream refuses the bucket of set {name}: {refused}") from refused
    except NatsUnsure as unsure:
        raise Unavailable(
            f"the NATS server at hand has no JetStream, or no leader: {unsure}; set 'jetstream' in its configuration"
        ) from unsure
    if message is None:
        return None
    try:
        return SetDescription(**orjson.loads(message.data))
    except (orjson.JSONDecodeError, TypeError) as error:
        raise Unavailable(
            f"key 'set' of bucket AB_{name} was changed by hand, or by a newer asyncblock: {error}"
        ) from error


def _bucket(name: str) -> str:
    return f"KV_AB_{name}"


def _key(name: str) -> str:
    return f"$KV.AB_{name}.set"


def _bucket_config(name: str, replicas: int) -> dict[str, Any]:
    return {
        "name": _bucket(name),
        "subjects": [f"$KV.AB_{name}.>"],
        "storage": "file",
        "num_replicas": replicas,
        "max_msgs_per_subject": 1,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "allow_direct": True,
    }
