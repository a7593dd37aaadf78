"""Dask distributed: frames that go from one worker process to others, by its own means and with its defaults."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from ..frames_data import burn, dirty_mb, made, right

__all__ = ["fan_out", "hand_over"]


@contextmanager
def _cluster(workers: int) -> Iterator[tuple[Any, list[str]]]:
    """Start worker processes of one thread each, without a limit of memory: nothing is spilled or paused."""
    distributed: Any = import_module("distributed")
    with (
        tempfile.TemporaryDirectory() as scratch,
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=50,
            memory_limit=0,
            local_directory=scratch,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client, sorted(client.scheduler_info()["workers"])


def _first(kind: str, mb: int) -> Any:
    return made(kind, mb)


def _work(value: Any, kind: str, turns: int) -> tuple[float, bool]:
    fine = right(kind, value)
    burn(turns)
    return time.monotonic(), fine


def fan_out(mb: int, jobs: int, turns: int) -> dict[str, float]:
    """Measure how long jobs on all workers take that have one frame of a worker's."""
    with _cluster(2) as (client, workers):
        client.gather([client.submit(burn, 1000, pure=False, workers=[each]) for each in workers])
        frame = client.submit(_first, "numbers", mb, pure=False)
        import_module("distributed").wait(frame)
        began = time.monotonic()
        found = client.gather([client.submit(_work, frame, "numbers", turns, pure=False) for _ in range(jobs)])
        seconds = time.monotonic() - began
        assert all(fine for _, fine in found)
        return {"s": seconds}


def _entered(value: Any, kind: str, before: float) -> tuple[float, float, bool]:
    now = time.monotonic()
    grown = dirty_mb() - before
    return now, grown, right(kind, value)


def hand_over(kind: str, mb: int) -> dict[str, float]:
    """Measure from the call that asks for it until a value is there in another worker process."""
    with _cluster(2) as (client, (one, other)):
        small = client.submit(_first, kind, 2, pure=False, workers=[one])
        client.submit(_entered, small, kind, 0.0, pure=False, workers=[other]).result()
        value = client.submit(_first, kind, mb, pure=False, workers=[one])
        import_module("distributed").wait(value)
        before = client.submit(dirty_mb, pure=False, workers=[other]).result()
        began = time.monotonic()
        entered, grown, fine = client.submit(_entered, value, kind, before, pure=False, workers=[other]).result()
        assert fine
        began_again = time.monotonic()
        again, _, _ = client.submit(_entered, value, kind, before, pure=False, workers=[other]).result()
        return {"ms": (entered - began) * 1000, "further_ms": (again - began_again) * 1000, "dirty_mb": grown}
