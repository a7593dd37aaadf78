"""Beats as they travel over core NATS, to all that listen: JSON, with the sender's clock."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Final

import orjson

from ..jetstream import PartitionNames
from .ownership import Beat

__all__ = ["HeardBeat", "beat_subject", "decode_beat", "encode_beat", "hand_over_subject"]

_FIELDS: Final = tuple(each.name for each in fields(Beat))
_NUMBERS: Final = frozenset({"term", "count"})


@dataclass(frozen=True, slots=True)
class HeardBeat:
    """A beat, and what its sender's clock said, in ms."""

    beat: Beat
    clock: int


def beat_subject(names: PartitionNames) -> str:
    """Return where the members of a partition beat. No stream keeps it."""
    return f"{names.prefix}.beat"


def hand_over_subject(names: PartitionNames) -> str:
    """Return where the owner is asked to hand over."""
    return f"{names.prefix}.handover"


def encode_beat(beat: Beat, clock: int) -> bytes:
    """Return what is told."""
    return orjson.dumps({**asdict(beat), "clock": clock})


def decode_beat(data: bytes) -> HeardBeat | None:
    """Return what was told; None for what isn't a beat. Fields of newer members are skipped."""
    try:
        found = orjson.loads(data)
        said = {name: found[name] for name in _FIELDS}
        clock = found["clock"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    right = all(isinstance(value, int if name in _NUMBERS else str) for name, value in said.items())
    return HeardBeat(Beat(**said), clock) if right and isinstance(clock, int) else None
