"""The links of one process to a set: one to each partition, by their numbers; or the only one to a mainframe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..runtime.iothread import IOThread
from ..wire.placement import partition_of
from .link import Link

__all__ = ["PlacedLinks"]


class PlacedLinks:
    """Links by their partitions' numbers. What is about a session goes by the link to the one that has it."""

    def __init__(self, links: Sequence[Link]) -> None:
        self._links = links

    def __iter__(self) -> Iterator[Link]:
        return iter(self._links)

    def __len__(self) -> int:
        return len(self._links)

    @property
    def io(self) -> IOThread:
        """The I/O thread on which all of them are."""
        return self._links[0].io

    @property
    def alone(self) -> bool:
        """Tell whether there is one partition."""
        return len(self._links) == 1

    @property
    def away(self) -> bool:
        """Tell whether a connection is missing at the moment. It may be back before the answer is read."""
        return any(link.away for link in self._links)

    @property
    def over(self) -> bool:
        """Tell whether all of them have ended for good."""
        return all(link.over for link in self._links)

    def of(self, session_id: str) -> Link:
        """Return the link to the partition that a session is in."""
        count = len(self._links)
        return self._links[0] if count == 1 else self._links[partition_of(session_id, count)]

    async def announce(self) -> None:
        """Tell each mainframe what the host can run now. **Cancellation** leaves some untold."""
        for link in self._links:
            await link.announce()
