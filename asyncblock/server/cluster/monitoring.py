"""What the NATS servers' monitoring says of them: the only place that tells whether they sync always."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

import orjson

from ...errors import Unavailable

__all__ = ["check_sync"]

_TIMEOUT = 5.0


async def check_sync(urls: Sequence[str]) -> None:
    """Ask each server's monitoring (``http://HOST:8222``) whether it syncs always. **Cancellation** abandons it.

    Raises ``Unavailable`` for one that doesn't, or doesn't answer.
    """
    for url in urls:
        found = await asyncio.to_thread(_varz, url.rstrip("/"))
        config = (found.get("jetstream") or {}).get("config")
        if not config:
            raise Unavailable(f"the NATS server at {url} has no JetStream; set 'jetstream' in its configuration")
        if not config.get("sync_always"):
            seconds = config.get("sync_interval", 0) / 1e9
            raise Unavailable(
                f"the NATS server at {url} has sync_interval {seconds:g}s: it acknowledges what isn't on disk. Set "
                "'sync_interval: always' in its jetstream block"
            )


def _varz(url: str) -> dict[str, Any]:
    if not url.startswith(("http://", "https://")):
        raise Unavailable(f"{url!r} is no address of a NATS server's monitoring; write http://HOST:8222")
    # Not through a proxy: it is asked of a server beside this one.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/varz", timeout=_TIMEOUT) as answer:
            found = orjson.loads(answer.read())
    except (OSError, urllib.error.URLError, orjson.JSONDecodeError, ValueError) as error:
        raise Unavailable(f"the monitoring of the NATS server at {url} doesn't answer: {error}") from error
    if not isinstance(found, dict):
        raise Unavailable(f"what answers at {url} isn't the monitoring of a NATS server")
    return found
