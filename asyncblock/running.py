"""``asyncblock.Flow``: a flow built in Python that runs itself on a mainframe of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import flow as language
from .embedding import embedded
from .shapes import Results

__all__ = ["Flow"]


class Flow(language.Flow):
    __doc__ = language.Flow.__doc__

    async def run(
        self, inputs: Results | None = None, *, data_dir: str | Path | None = None, workers: int = 0
    ) -> dict[str, Any]:
        """Run the flow on an embedded mainframe and return its outputs.

        **Durability**: with a ``data_dir`` the session's journal stays there; else it is deleted at the end.
        **Cancellation** cancels the session: blocks may clean up.
        Raises ``InvalidFlow`` with every problem before anything runs, ``FlowFailed`` with the session's error.
        """
        plan = self.plan()
        async with embedded(data_dir, workers=workers) as mainframe:
            session = await mainframe.start(plan, inputs)
            return await session.outputs()
