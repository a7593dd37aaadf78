"""taskiq on a local Redis: no-op tasks on one worker process, results kept in Redis."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

from .servers import redis_server

__all__ = ["jobs"]

_URL = "ASYNCBLOCK_BENCH_REDIS"


def _broker(url: str) -> Any:
    taskiq_redis: Any = import_module("taskiq_redis")
    broker = taskiq_redis.ListQueueBroker(url).with_result_backend(taskiq_redis.RedisAsyncResultBackend(url))

    async def nothing(number: int) -> int:
        return number + 1

    broker.task(task_name="nothing")(nothing)
    return broker


def __getattr__(name: str) -> Any:
    """Make the broker for taskiq's worker command, which imports it by name."""
    if name == "broker":
        return _broker(os.environ[_URL])
    raise AttributeError(name)


async def jobs(in_flight: int, alone: int, chain: int) -> dict[str, float]:
    """Measure many at once, one at a time, and a chain."""
    import_module("taskiq_redis")
    with redis_server() as port:
        url = f"redis://127.0.0.1:{port}"
        async with _worker(url):
            broker = _broker(url)
            await broker.startup()
            try:
                task = broker.find_task("nothing")
                await _result(await task.kiq(0))
                return {
                    "in_flight_64": await _in_flight(task, in_flight),
                    "one_at_a_time": await _alone(task, alone),
                    "chain": await _chain(task, chain),
                }
            finally:
                await broker.shutdown()


@contextlib.asynccontextmanager
async def _worker(url: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "taskiq", "worker", "benchmarks.rivals.taskiq_redis:broker"),
        *("--workers", "1", "--max-async-tasks", "64", "--log-level", "ERROR"),
        env={**os.environ, _URL: url},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def _result(sent: Any) -> int:
    result = await sent.wait_result(check_interval=0.0005, timeout=30)
    value: int = result.return_value
    return value


async def _in_flight(task: Any, count: int) -> float:
    numbers = iter(range(count))

    async def one_after_another() -> None:
        for number in numbers:
            await _result(await task.kiq(number))

    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(64):
            tasks.create_task(one_after_another())
    return count / (time.perf_counter() - began)


async def _alone(task: Any, count: int) -> float:
    times = []
    for number in range(count):
        began = time.perf_counter()
        await _result(await task.kiq(number))
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


async def _chain(task: Any, length: int) -> float:
    began = time.perf_counter()
    value = 0
    for _ in range(length):
        value = await _result(await task.kiq(value))
    assert value == length
    return length / (time.perf_counter() - began)
