"""Placement: in which partition of a set a session is. Its id tells, so that whoever knows that can go there."""

from __future__ import annotations

from zlib import crc32

__all__ = ["partition_of"]


def partition_of(session_id: str, partitions: int) -> int:
    """Return the partition of a session: the CRC-32 of its id's UTF-8, modulo how many there are."""
    return crc32(session_id.encode()) % partitions
