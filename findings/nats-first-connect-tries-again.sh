#!/usr/bin/env bash
# Guess: nats-py's connect(allow_reconnect=False) tries each server once, and so raises at once where nobody listens; the
#   bound max_reconnect_attempts is about connections that were there and broke, and 0 means none, as with nats.go.
# Seen, nats-py 2.16.0 and a port that refuses: with allow_reconnect=False it tries 61 times, one more than the default of
#   max_reconnect_attempts, with reconnect_time_wait between two (2 s by default: two minutes until connect() raises).
#   max_reconnect_attempts bounds the first connection, too: 3 are 4 tries. And 0 is no bound at all: it was still trying
#   after 100 tries, when its caller gave up.
# Exits with 0 while that is so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet nats-py==2.16.0
"$place/venv/bin/python" - <<'PY'
import asyncio
import socket

import nats


async def tries(port, enough=1000, **options):
    """Return how often a first connection is tried, and what is raised."""
    seen, reached = [], asyncio.Event()

    async def hear(error):
        seen.append(error)
        if len(seen) == enough:
            reached.set()

    url = f"nats://127.0.0.1:{port}"
    connecting = asyncio.create_task(nats.connect(url, reconnect_time_wait=0.01, error_cb=hear, **options))
    waiting = asyncio.create_task(reached.wait())
    async with asyncio.timeout(60):
        await asyncio.wait([connecting, waiting], return_when=asyncio.FIRST_COMPLETED)
    raised = type(connecting.exception()).__name__ if connecting.done() else None
    for task in (connecting, waiting):
        task.cancel()
    await asyncio.gather(connecting, waiting, return_exceptions=True)
    return len(seen), raised


async def main():
    with socket.socket() as nobody:
        # Bound and not listening: every connection is refused, and nobody else takes the port.
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        without = await tries(port, allow_reconnect=False)
        three = await tries(port, max_reconnect_attempts=3)
        none = await tries(port, enough=100, max_reconnect_attempts=0)
    print(f"allow_reconnect=False: {without}; max_reconnect_attempts=3: {three}; =0: {none}")
    assert without == (61, "NoServersError")
    assert three == (4, "NoServersError")
    assert none == (100, None)


asyncio.run(main())
PY
