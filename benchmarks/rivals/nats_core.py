"""nats-py, core publish from many tasks, until a subscriber in another process has every message."""

from __future__ import annotations

import asyncio
import sys
import time
from importlib import import_module
from typing import Any

import orjson

from .servers import nats_server

__all__ = ["publish"]


async def publish(jobs: int, count: int, size: int) -> dict[str, float]:
    """Publish records from ``jobs`` tasks over one connection."""
    nats: Any = import_module("nats")
    with nats_server() as port:
        url = f"nats://127.0.0.1:{port}"
        subscriber = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.rivals.nats_core", url, str(jobs * count)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert subscriber.stdout is not None
        try:
            await subscriber.stdout.readline()
            connection = await nats.connect(url, pending_size=64 << 20)
            value = "x" * (size - 2)

            async def produce() -> None:
                for _ in range(count):
                    record = {"type": "BlockOutput", "handle": "out", "output": value, "t": int(time.time() * 1000)}
                    await connection.publish("session.s", orjson.dumps(record))

            began = time.perf_counter()
            async with asyncio.TaskGroup() as tasks:
                for _ in range(jobs):
                    tasks.create_task(produce())
            await connection.flush(timeout=120)
            line = await subscriber.stdout.readline()
            seconds = time.perf_counter() - began
            await connection.close()
        finally:
            if subscriber.returncode is None:
                subscriber.terminate()
            await subscriber.wait()
    if line.strip() != b"all":
        raise RuntimeError("the subscriber ended before it had everything")
    return {"rate": jobs * count / seconds}


async def _subscribe(url: str, count: int) -> None:
    nats: Any = import_module("nats")
    connection = await nats.connect(url)
    received = 0
    everything = asyncio.Event()

    async def on_message(message: Any) -> None:
        nonlocal received
        orjson.loads(message.data)
        received += 1
        if received == count:
            everything.set()

    await connection.subscribe("session.s", cb=on_message, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await connection.flush()
    print("ready", flush=True)
    await everything.wait()
    print("all", flush=True)
    await connection.close()


if __name__ == "__main__":
    asyncio.run(_subscribe(sys.argv[1], int(sys.argv[2])))
