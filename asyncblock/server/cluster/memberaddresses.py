"""Where the members of a set are, as one of them has heard. Clients and executors are told, in case the owner dies."""

from __future__ import annotations

from typing import Final

__all__ = ["MemberAddresses"]

_PRESENT: Final = 60
"""Seconds for which one that isn't heard any more counts: it may be back, after an update say."""


class MemberAddresses:
    """The addresses that were heard of lately. A clock is handed in."""

    def __init__(self) -> None:
        self._heard_at: dict[str, float] = {}

    def heard(self, address: str, now: float) -> None:
        """Take note of a member's address."""
        self._heard_at[address] = now

    def known(self, own: str, now: float) -> list[str]:
        """Return our own address, and then those of the others."""
        self._heard_at = {each: at for each, at in self._heard_at.items() if each and now - at < _PRESENT}
        return [own, *(each for each in self._heard_at if each != own)]
