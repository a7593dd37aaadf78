"""What a plan says of a block beyond its code: how often a failed job is tried again, what its versions are of.

A session reads it once for each of its nodes: a hundred thousand jobs that wait would take time and memory for it.
Pure; it knows blocks as plans have them, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...resources import NOTHING, Resources

__all__ = ["SPAWN", "BlockKind", "Need", "RetryPolicy", "name_of", "title_of"]

MAX_PAUSE = 3600.0
"""Seconds between two attempts at most: a longer wait calls for another run."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a failed job is tried again, from the block's manifest."""

    retries: int = 0
    backoff: float = 1.0
    """Seconds before the second attempt; doubled for each further one."""
    not_retried: tuple[str, ...] = ()
    """Names of exception types that end the job at once."""
    stream: bool = False
    """Outputs go downstream as they come, those of attempts that fail too: at least once instead of exactly once."""

    @property
    def holds(self) -> bool:
        """Tell whether outputs are kept back until an attempt has finished."""
        return self.retries > 0 and not self.stream

    @classmethod
    def of(cls, block: Mapping[str, Any]) -> RetryPolicy:
        """Read the policy from a plan's block."""
        spec = block.get("retries")
        if not isinstance(spec, dict):
            return _ONE_ATTEMPT
        return cls(
            int(spec.get("retries", 0)),
            float(spec.get("backoff", 1.0)),
            tuple(spec.get("not_retried", ())),
            spec.get("release") == "stream",
        )

    def pause(self, attempt: int) -> float:
        """Return the seconds between the end of an attempt and the next."""
        return min(self.backoff * 2.0 ** (attempt - 1), MAX_PAUSE)


_ONE_ATTEMPT = RetryPolicy()


def name_of(block: Mapping[str, Any]) -> str:
    """Return what the versions of a block's code are versions of: its package, or for a code block the function."""
    package = str(block.get("package"))
    return f"{package}:{block.get('function')}" if package.startswith("python:") else package


def title_of(block: Mapping[str, Any]) -> str:
    """Return what people call a block: its package and directory, or for a code block its module and function."""
    package, place = str(block.get("package")), str(block.get("dir", ".")).rpartition("/")[2]
    if package.startswith("python:"):
        return f"{package.removeprefix('python:')}.{block.get('function')}"
    return package if place == "." else f"{package}/{place}"


SPAWN = "spawn"
"""In place of a group: a process of its own."""


class Need(NamedTuple):
    """What a job asks of an executor."""

    language: str
    version: str
    """The hash of its package; empty for what every executor has."""
    session: str | None
    """Of a pinned job."""
    group: str | None
    in_thread: bool
    package: str
    resources: Resources = NOTHING
    """What an executor has to offer, and to have free. Of a job that another one has asked for, and that runs beside
    it, what goes beyond that one's own."""

    @classmethod
    def of(cls, block: Mapping[str, Any], in_thread: bool, resources: Resources) -> Need:
        """Return what jobs of a block ask for that are in no group."""
        language, version = str(block.get("language", "python")), str(block.get("hash", ""))
        return cls(language, version, None, SPAWN if block.get("spawn") else None, in_thread, name_of(block), resources)


@dataclass(frozen=True, slots=True, eq=False)
class BlockKind:
    """What all jobs of a block have in common."""

    block: Mapping[str, Any]
    code: str
    """What its version is a version of."""
    in_thread: bool
    """The block is known to be a plain function, which takes a thread of its executor's."""
    policy: RetryPolicy
    needs: Resources
    need: Need
    """What those of its jobs ask for that are in no group, and beside no other job."""

    @classmethod
    def of(cls, block: Mapping[str, Any]) -> BlockKind:
        """Read it from a plan's block."""
        in_thread = bool(block.get("sync")) and not block.get("spawn") and "service" not in block
        needs = Resources.of(block.get("needs"))
        return cls(block, name_of(block), in_thread, RetryPolicy.of(block), needs, Need.of(block, in_thread, needs))
