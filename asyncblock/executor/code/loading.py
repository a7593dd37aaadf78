"""Loading of blocks on worker threads: one for each block that is being loaded, however many jobs wait for it."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakValueDictionary

from ...block import Binding
from ...runtime.offload import wait_in_thread
from ..attribution.jobstreams import unwrap_streams
from .catalog import Catalog
from .jobtemplates import key_of

__all__ = ["Loading"]


class Loading:
    """Gets the functions of blocks. On the executor's loop."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._turns: WeakValueDictionary[tuple[str, ...], asyncio.Lock] = WeakValueDictionary()
        """Whose turn it is to load a block, while anybody wants it."""

    async def binding(self, spec: dict[str, Any], session_id: str) -> Binding:
        """Return a block's function, loaded at most once for a session.

        An import may hang, and then holds up only those who want the same block.
        **Cancellation** is safe; the import goes on. Raises as ``Catalog.load``.
        """
        key = key_of(spec, session_id)
        turn = self._turns.setdefault(key, asyncio.Lock())
        async with turn:
            known = self._catalog.cached(key)
            if known is not None:
                return known
            try:
                return await wait_in_thread(self._catalog.load, spec, session_id, places=None)
            finally:
                # Files begin with it that were written for terminals of another encoding.
                unwrap_streams()
