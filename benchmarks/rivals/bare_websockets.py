"""The ``websockets`` library as it is: one JSON record a message, nothing acknowledged but the last."""

from __future__ import annotations

import asyncio
import sys
import time

import orjson
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

__all__ = ["send"]


async def send(count: int, size: int) -> dict[str, float]:
    """Send records to a server in another process, which decodes each."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.rivals.bare_websockets", stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    value = "x" * (size - 2)
    try:
        port = int(await server.stdout.readline())
        async with connect(f"ws://127.0.0.1:{port}", compression=None, ping_interval=None) as websocket:
            began = time.perf_counter()
            for _ in range(count):
                record = {
                    "type": "BlockOutput",
                    "handle": "out",
                    "output": value,
                    "done": False,
                    "t": int(time.time() * 1000),
                }
                await websocket.send(orjson.dumps(record))
            await websocket.send(orjson.dumps({"last": True}))
            received = int(await websocket.recv())
            seconds = time.perf_counter() - began
    finally:
        server.terminate()
        await server.wait()
    assert received == count + 1, received
    return {"rate": count / seconds}


async def _serve() -> None:
    async def count(websocket: ServerConnection) -> None:
        received = 0
        async for message in websocket:
            received += 1
            if orjson.loads(message).get("last"):
                await websocket.send(str(received))

    async with serve(count, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
