"""The mainframe of a partition. Its journal is in the cluster, and another member may take that over."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from ...errors import Unavailable
from ...wire.placement import Placement
from ..jetstream import JetStreamJournal, Overtaken
from ..journal.datadir import DataDir
from ..mainframe import MainframeServer, ServedJournal
from ..settings import Settings
from .clusterservers import ClusterServers
from .clusterset import SetDescription

__all__ = ["PartitionServer"]

logger = logging.getLogger("asyncblock.server.cluster")

_BACK_AFTER = 0.05
"""Seconds after which those come back that were connected when it was handed over: the next owner is opening it."""


class PartitionServer(MainframeServer):
    """A mainframe on a partition of a set. Entering it takes the partition over.

    Raises ``Overtaken`` when another than ``instead_of`` owns it, ``Unavailable`` when the servers don't answer.
    """

    journal: JetStreamJournal

    def __init__(
        self,
        place: DataDir,
        servers: ClusterServers,
        description: SetDescription,
        partition: int,
        settings: Settings,
        *,
        owner: str,
        instead_of: str,
        on_taken: Callable[[int], None],
        on_overtaken: Callable[[Overtaken], None],
    ) -> None:
        super().__init__(place.path, settings)
        self.place = place
        self.token = description.token
        self.placement = Placement(partition, description.partitions)
        self._back_after = _BACK_AFTER
        self._take_over = partial(
            JetStreamJournal.open,
            servers.urls,
            description.names(partition),
            description.demands,
            owner=owner,
            instead_of=instead_of,
            epoch=description.epoch,
            on_trouble=self._on_trouble,
            on_recovered=self._on_recovered,
            on_taken=on_taken,
            on_overtaken=on_overtaken,
            **servers.who,
        )

    async def prove(self) -> None:
        """Return when something was stored that was written after the call. **Cancellation** is safe.

        Raises ``Overtaken`` when the partition is another's, ``Closed`` when it was let go of.
        """
        await self.journal.prove()

    async def _open_journal(self, stack: AsyncExitStack) -> ServedJournal:
        self.journal = await self._take_over()
        stack.push_async_callback(self._close_journal)
        return self.journal

    async def _close_journal(self) -> None:
        try:
            await self.journal.close()
        except Unavailable as error:
            # It wasn't acknowledged, so its sender sends it to the next owner.
            logger.info("%s", error)

    def _readable(self) -> Path | None:
        return None

    def _on_trouble(self, error: Exception) -> None:
        if isinstance(error, Overtaken):
            self.trouble = self.gateway.trouble = str(error)
            self.gateway.cut()
        else:
            super()._on_trouble(error)
