"""The existing SDK (``oocana``): ``Context.output`` over MQTT QoS 1, until a subscriber has every message.

A job of its executor is a thread of its own, and all share one ``Mainframe``; so it is here.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from importlib import import_module
from typing import Any

from .servers import mosquitto

__all__ = ["send"]


def send(jobs: int, count: int, size: int) -> dict[str, float]:
    """Send outputs from ``jobs`` threads through a local broker to a subscriber in another process."""
    oocana: Any = import_module("oocana")
    with mosquitto() as port:
        subscriber = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.rivals.existing_sdk", str(port), str(jobs * count)],
            stdout=subprocess.PIPE,
        )
        assert subscriber.stdout is not None
        try:
            subscriber.stdout.readline()
            mainframe = oocana.Mainframe(f"mqtt://127.0.0.1:{port}")
            mainframe.connect()
            value = "x" * (size - 2)

            def produce() -> None:
                context = _context(oocana, mainframe)
                for _ in range(count):
                    context.output("out", value)

            threads = [threading.Thread(target=produce) for _ in range(jobs)]
            began = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            line = subscriber.stdout.readline()
            seconds = time.perf_counter() - began
            mainframe.client.disconnect()
            mainframe.client.loop_stop()
        finally:
            subscriber.terminate()
            subscriber.wait()
    if line.strip() != b"all":
        raise RuntimeError("the subscriber ended before it had everything")
    return {"rate": jobs * count / seconds}


def _context(oocana: Any, mainframe: Any) -> Any:
    directory = tempfile.gettempdir()
    return oocana.Context(
        inputs={},
        blockInfo=oocana.BlockInfo(session_id="s", job_id="j", stacks=[]),
        mainframe=mainframe,
        store={},
        inputs_def={},
        outputs_def={"out": {"handle": "out"}},
        session_dir=directory,
        tmp_dir=directory,
        package_name="bench",
        pkg_dir=directory,
    )


def _subscribe(port: int, count: int) -> None:
    oocana: Any = import_module("oocana")
    received = 0
    everything = threading.Event()

    def on_message(payload: Any) -> None:
        nonlocal received
        received += 1
        if received == count:
            everything.set()

    mainframe = oocana.Mainframe(f"mqtt://127.0.0.1:{port}")
    subscribed = threading.Event()
    mainframe.connect()
    mainframe.client.on_subscribe = lambda *_: subscribed.set()
    mainframe.subscribe("session/s", on_message)
    subscribed.wait()
    print("ready", flush=True)
    everything.wait()
    print("all", flush=True)


if __name__ == "__main__":
    _subscribe(int(sys.argv[1]), int(sys.argv[2]))
