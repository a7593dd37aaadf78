"""A port at which an editor's debugger reaches the blocks of an executor process: ``oocana``'s engine asks for it."""

from __future__ import annotations

import logging
import os
from collections.abc import MutableMapping

__all__ = ["PORT", "WAITS", "listen"]

logger = logging.getLogger("asyncblock.executor")

PORT = "ASYNCBLOCK_ENGINE_DEBUG_PORT"
"""The variable that names the port to the process."""

WAITS = "ASYNCBLOCK_ENGINE_DEBUG_WAITS"
"""Set where no job may begin before a debugger has come."""


def listen(environ: MutableMapping[str, str] = os.environ) -> None:
    """Let a debugger come, where that is asked for. The variables are taken away: they are for one process."""
    port, waits = environ.pop(PORT, None), environ.pop(WAITS, None)
    if port is None:
        return
    import debugpy  # type: ignore[import-untyped,unused-ignore]

    try:
        debugpy.listen(("127.0.0.1", int(port)))
    except Exception as error:
        # Another program has the port, or what is left of a process that has died. Jobs run without it.
        logger.warning("no debugger can be reached at port %s: %s", port, error)
        return
    if waits:
        debugpy.wait_for_client()
