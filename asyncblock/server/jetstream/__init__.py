"""The journal beyond one machine: a partition in two streams of a NATS JetStream cluster, under the journal's contract.

**What stored means.** ``Write.stored`` runs when a majority of the stream's replicas has the commit on disk, provided
that each server runs with ``sync_interval: always``. A server doesn't report that setting, so the operator has to vouch
for it. A stored commit survives kill -9 of this process or of any server, and power loss, as long as a majority of the
disks comes back.

**Owners.** Opening takes the partition over: from then on nothing from an earlier owner is stored. The earlier owner
notices at its next write: its journal fails with ``Overtaken`` for good, ``on_overtaken`` is called, and none of its
``stored`` callbacks run any more.

**Trouble.** Writes are kept, and continue when the servers answer again. If the outcome of a write is unknown, the
stream is searched for it before anything else is written, so that it is stored once.

**Memory.** Rows are in memory, and 24 bytes for each message of entries. Deleted sessions are hidden at once and purged
later. The messages that hold rows are kept, so opening a partition takes longer the more sessions it has.

All of it runs on the event loop, in tasks that ``close`` ends.
"""

from __future__ import annotations

from .fence import Overtaken
from .jetstreamjournal import JetStreamJournal
from .partitionstream import Demands
from .streammessages import PartitionNames

__all__ = ["Demands", "JetStreamJournal", "PartitionNames", "Overtaken"]
