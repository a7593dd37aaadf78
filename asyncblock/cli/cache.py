"""The command ``cache``: what of results is kept on this machine, and removing it."""

from __future__ import annotations

import orjson

from ..context import JobDirectories
from ..errors import Unavailable
from ..executor.caching import Results, limit_here

__all__ = ["prune", "show"]


def _results() -> Results:
    directory = JobDirectories().results_dir()
    try:
        results = Results(directory)
        results.check()
    except OSError as error:
        raise Unavailable(f"the cache {directory} can't be used: {error.strerror}") from error
    return results


async def show(json: bool) -> int:
    """Say where the cache is, and how large."""
    results = _results()
    count, size = results.usage()
    if json:
        found = {"directory": str(results.directory), "results": count, "bytes": size, "limit": limit_here()}
        print(orjson.dumps(found).decode())
    else:
        print(f"{results.directory}: {count} results, {size:,} bytes of {limit_here():,} (ASYNCBLOCK_CACHE_BYTES)")
    return 0


async def prune(older: float | None, json: bool) -> int:
    """Remove results that weren't used for a time; without one, all."""
    pruned = _results().prune(older=older, limit=None if older is not None else 0)
    if json:
        print(orjson.dumps({"results": pruned.results, "bytes": pruned.bytes, "left": pruned.left}).decode())
    else:
        print(f"{pruned.results} results removed, {pruned.bytes:,} bytes; {pruned.left:,} bytes are left")
    return 0
