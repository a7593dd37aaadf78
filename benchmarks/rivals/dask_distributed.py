"""Dask distributed: no-op tasks on one worker process, as its own scheduler dispatches them."""

from __future__ import annotations

import statistics
import time
from importlib import import_module
from typing import Any

__all__ = ["jobs"]


def _nothing(number: int) -> int:
    return number + 1


def jobs(in_flight: int, alone: int, chain: int) -> dict[str, float]:
    """Measure many at once, one at a time, and a chain."""
    distributed: Any = import_module("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.submit(_nothing, 0, pure=False).result()
        return {
            "in_flight_64": _in_flight(distributed, client, in_flight),
            "one_at_a_time": _alone(client, alone),
            "chain": _chain(client, chain),
        }


def _in_flight(distributed: Any, client: Any, count: int) -> float:
    began = time.perf_counter()
    waiting = distributed.as_completed([client.submit(_nothing, n, pure=False) for n in range(64)])
    sent = 64
    for _ in waiting:
        if sent < count:
            waiting.add(client.submit(_nothing, sent, pure=False))
            sent += 1
    return count / (time.perf_counter() - began)


def _alone(client: Any, count: int) -> float:
    times = []
    for number in range(count):
        began = time.perf_counter()
        client.submit(_nothing, number, pure=False).result()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def _chain(client: Any, length: int) -> float:
    began = time.perf_counter()
    future = client.submit(_nothing, 0, pure=False)
    for _ in range(length - 1):
        future = client.submit(_nothing, future, pure=False)
    assert future.result() == length
    return length / (time.perf_counter() - began)
