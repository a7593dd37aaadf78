"""Placement: in which partition of a set a session is. Its id tells, so that whoever knows that can go there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from zlib import crc32

__all__ = ["MAX_PARTITIONS", "Placement", "partition_of"]

MAX_PARTITIONS: Final = 64
"""Of a set: each costs its members two streams and four beats a second, and whoever connects a link."""


def partition_of(session_id: str, partitions: int) -> int:
    """Return the partition of a session: the CRC-32 of its id's UTF-8, modulo how many there are."""
    return crc32(session_id.encode()) % partitions


@dataclass(frozen=True, slots=True)
class Placement:
    """Which partition a mainframe serves, of how many. One that stands alone serves the only one."""

    partition: int = 0
    partitions: int = 1

    def has(self, session_id: str) -> bool:
        """Tell whether a session is in this partition."""
        return self.partitions == 1 or partition_of(session_id, self.partitions) == self.partition
