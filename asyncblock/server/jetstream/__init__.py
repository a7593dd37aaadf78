"""The journal beyond one machine: a partition in two streams of a NATS JetStream cluster, under the journal's contract.

**What stored means.** ``Write.stored`` runs when a majority of the stream's replicas has the commit on disk, given that
each server runs with ``sync_interval: always``: no server tells, so the operator has to say it. It survives kill -9 of
this process, of any server, and power loss, as long as a majority of the disks comes back.

**Owners.** Opening takes the partition over: from then on nothing of an earlier owner is stored. That one notices at
its next write: ``Overtaken`` is its trouble, for good, ``on_overtaken`` is told, and no ``stored`` of it runs any more.

**Trouble.** Writes are kept, and go on when the servers answer again. One whose outcome is unknown is looked for before
anything else is written, so that it is stored once.

**Memory.** Rows are in memory, and 24 bytes for each message of entries. What is deleted is hidden at once and purged
behind; the messages that hold rows are kept, so a partition's opening takes longer with the number of its sessions.

All of it runs on the event loop, in tasks that ``close`` ends.
"""

from __future__ import annotations

from .fence import Overtaken
from .jetstreamjournal import JetStreamJournal
from .partitionstream import Demands
from .streammessages import PartitionNames

__all__ = ["Demands", "JetStreamJournal", "PartitionNames", "Overtaken"]
