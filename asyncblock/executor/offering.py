"""Offering: what an executor says that blocks may need of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..childprocesses.hostmemory import memory_limit
from ..errors import LocalProtocolError
from ..resources import LABELS, offers_of, offers_problem

__all__ = ["announced_offers", "checked_labels"]


def checked_labels(offers: Mapping[str, Any], labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels. Raises ``LocalProtocolError`` for offers and labels that can't be announced."""
    found = tuple(labels)
    if (problem := offers_problem({**offers, LABELS: found})) is not None:
        raise LocalProtocolError(problem)
    return found


def announced_offers(offers: Mapping[str, Any], labels: Iterable[str], pool: str | None) -> dict[str, Any]:
    """Return what of an announcement says what is offered. Reads how much memory this process may have."""
    made = offers_of(offers, labels, memory_limit())
    found = made.pop(LABELS, None)
    announced: dict[str, Any] = {"offers": made} if made else {}
    if found:
        announced["labels"] = found
    if pool is not None:
        announced["pool"] = pool
    return announced
