"""The existing executor (``oocana-python-executor``) under its engine: no-op blocks, over a local mosquitto.

Both are given by the environment: ``OOCANA_ENGINE``, the engine's program, which has to be built, and
``OOCANA_EXECUTOR``, the executor's ``python-executor``, of an environment of its own. Times are of the messages on the
broker: the engine's for a job, and the executor's at its end.

Each of its jobs waits for its inputs in a thread that computes all the while, so 64 of them leave hardly a turn to the
thread that would hear those inputs, and the engine, which hears nothing, says every job again every 3 s. So a run has a
longest time, and what has ended in it is counted; where none has, there is no figure.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import yaml

from .jobtimes import JobTimes, figures
from .servers import mosquitto

__all__ = ["LONGEST", "jobs"]

_BLOCKS: dict[str, tuple[list[str], list[str], str]] = {
    "step": (["a"], ["out"], 'def main(params, context):\n    return {"out": params["a"] + 1}\n'),
    "nothing": (["a"], [], "def main(params, context):\n    pass\n"),
    "feed": (
        ["count"],
        ["out"],
        'def main(params, context):\n    for n in range(params["count"]):\n        context.output("out", n)\n',
    ),
}

_TRIES = 5
"""The engine gives an executor 5 s to be ready, which it isn't on a busy machine."""

LONGEST = {"many": 180.0, "alone": 45.0, "chain": 45.0}
"""Seconds of a run; then the jobs count that have ended. Together less than a measuring process has. Of 100 jobs, 64 in
flight, none had ended after 60 s and 10 after 300 s (busy machine, 2 cores, 2026-11-30)."""

_PATIENCE = 10.0
"""Seconds that a broker on this machine has."""


def jobs(in_flight: int, alone: int, chain: int) -> dict[str, float]:
    """Measure many at once, one at a time, and a chain."""
    engine, executor = _given("OOCANA_ENGINE"), _given("OOCANA_EXECUTOR")
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        run = _Runs(engine, executor, stack.enter_context(mosquitto()), work)
        many = run.of("many", _fed(in_flight, 64), "nothing", in_flight)
        alone_ones = run.of("alone", _fed(alone, 1), "nothing", alone)
        found = figures(many, alone_ones, run.of("chain", _chained(chain), "", chain))
    if not found:
        raise RuntimeError(f"no jobs ended within {', '.join(f'{each:.0f} s' for each in LONGEST.values())}")
    return found


def _given(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise RuntimeError(f"{name} doesn't say where it is")
    found = shutil.which(value)
    if found is None:
        raise RuntimeError(f"{name}: {value} is no program")
    return str(Path(found).absolute())


def _fed(count: int, concurrency: int) -> list[dict[str, Any]]:
    source = [{"node_id": "source", "output_handle": "out"}]
    return [
        {"node_id": "source", "task": "self::feed", "inputs_from": [{"handle": "count", "value": count}]},
        {
            "node_id": "nothing",
            "task": "self::nothing",
            "concurrency": concurrency,
            "inputs_from": [{"handle": "a", "from_node": source}],
        },
    ]


def _chained(length: int) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for number in range(length):
        before: dict[str, Any] = {"from_node": [{"node_id": f"n{number - 1}", "output_handle": "out"}]}
        fed = {"handle": "a", **(before if number else {"value": 0})}
        made.append({"node_id": f"n{number}", "task": "self::step", "inputs_from": [fed]})
    return made


class _Runs:
    """Runs flows of one package, and notes when each job began and ended."""

    def __init__(self, engine: str, executor: str, port: int, work: Path) -> None:
        self._engine, self._port, self._work = engine, port, work
        (work / "bin").mkdir()
        (work / "bin" / "python-executor").symlink_to(executor)
        (work / "package.oo.yaml").write_text("name: bench\nversion: 0.0.1\n")
        for name, (inputs, outputs, source) in _BLOCKS.items():
            place = work / "blocks" / name
            place.mkdir(parents=True)
            (place / "main.py").write_text(source)
            manifest = {
                "executor": {"name": "python", "options": {"entry": "main.py"}},
                "inputs_def": [{"handle": each} for each in inputs],
                "outputs_def": [{"handle": each} for each in outputs],
            }
            (place / "block.oo.yaml").write_text(yaml.safe_dump(manifest))

    def of(self, name: str, nodes: list[dict[str, Any]], node: str, count: int) -> JobTimes:
        """Run a flow; return when the jobs of a node (or of all) began and ended, of which there are so many."""
        flow = self._work / "flows" / name
        flow.mkdir(parents=True)
        (flow / "flow.oo.yaml").write_text(yaml.safe_dump({"nodes": nodes}))
        for _ in range(_TRIES):
            code, words, times = self._once(flow, node, count, LONGEST[name])
            if code in (0, None):
                return times
            if "timeout after 5s" not in words:
                raise RuntimeError(f"the engine ended with {code}: {words[-300:]}")
        raise RuntimeError(f"the executor wasn't ready within the engine's 5 s in any of {_TRIES} runs")

    def _once(self, flow: Path, node: str, count: int, longest: float) -> tuple[int | None, str, JobTimes]:
        session = str(uuid.uuid4())
        times = JobTimes(count)

        def take(client: Any, data: object, message: Any) -> None:
            now, told = time.perf_counter(), orjson.loads(message.payload)
            if told.get("type") == "BlockPayload" and node in ("", told["stacks"][-1]["node_id"]):
                times.begin(told["job_id"], now)
            elif told.get("type") == "BlockFinished" and told.get("error") is None:
                times.end(told["job_id"], now)

        where = {"HOME": str(self._work), "PATH": f"{self._work / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        command = [self._engine, "run", str(flow), "--broker", f"127.0.0.1:{self._port}", "--session", session]
        with _listening(self._port, ["executor/python/run_block", f"session/{session}"], take):
            code, words = _ended(
                [*command, "--temp-root", str(self._work), "--session-dir", str(self._work / "session")],
                {**os.environ, **where},
                longest,
            )
        times.over = time.perf_counter()
        return code, words, times


def _ended(command: list[str], environ: dict[str, str], longest: float) -> tuple[int | None, str]:
    """Run a command to its end; return its code, or None when it took too long, and what it said."""
    process = subprocess.Popen(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        words, _ = process.communicate(timeout=longest)
        return process.returncode, words
    except subprocess.TimeoutExpired:
        return None, ""
    finally:
        # The executor is the engine's, and may outlive it.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def _listening(port: int, topics: list[str], take: Any) -> Iterator[None]:
    """Hear topics for the duration of the block."""
    mqtt: Any = import_module("paho.mqtt.client")
    client = mqtt.Client(import_module("paho.mqtt.enums").CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
    ready = threading.Event()
    client.on_message = take
    client.on_connect = lambda *_: client.subscribe([(topic, 1) for topic in topics])
    client.on_subscribe = lambda *_: ready.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        if not ready.wait(_PATIENCE):
            raise RuntimeError("mosquitto doesn't answer")
        yield
    finally:
        client.disconnect()
        client.loop_stop()
