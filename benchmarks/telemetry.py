"""``python -m benchmarks.telemetry``: what telemetry costs, as ratios of throughput with their 95 % intervals.

Three mainframes, each measured as ``throughput`` does (100 jobs on one link, outputs of 100 bytes): one in a process
that has no OpenTelemetry, one that has it and a collector and isn't told to send (``off``), and one with
``serve --otel`` (``on``): spans, metrics and log records in batches, by the SDK's own settings but for metrics each
second. A round measures all three, in an order that turns. The collector is a process that takes what comes and keeps
nothing, on the same machine: on two cores its share is in ``on``, too.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from .paired import FEWEST, Estimate, estimate
from .report import say
from .rounds import Subject
from .throughput import outputs

__all__ = ["main", "rate"]

KINDS = ("without", "off", "on")
_HIDDEN = "import sys\nsys.modules['opentelemetry'] = None\n"


class _Takes(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        # Before the answer: whoever has that may end, and then this process is killed.
        print(self.path, flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def receive() -> None:
    """Take what comes until this process is told to end; prints where, then the path of each request."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Takes) as server:
        print(server.server_port, flush=True)
        server.serve_forever()


@asynccontextmanager
async def _collector() -> AsyncIterator[list[str]]:
    """Start a collector, and tell processes that are started now of it; yields the paths of requests, as they come."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from benchmarks.telemetry import receive; receive()"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    stdout, paths = process.stdout, list[str]()
    port = int(await stdout.readline())

    async def listen() -> None:
        async for line in stdout:
            paths.append(line.decode().strip())

    listening = asyncio.create_task(listen())
    os.environ |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    }
    try:
        yield paths
    finally:
        process.kill()
        await process.wait()
        await listening


async def rate(kind: str, count: int) -> dict[str, float]:
    """Measure outputs a second of 100 jobs, each with ``count``, of a mainframe of that kind."""
    if kind == "without":
        with tempfile.TemporaryDirectory() as place:
            # Processes that are started from here find no OpenTelemetry.
            (Path(place) / "sitecustomize.py").write_text(_HIDDEN)
            os.environ["PYTHONPATH"] = os.pathsep.join([place, *filter(None, [os.environ.get("PYTHONPATH")])])
            return await outputs(100, count, 100)
    async with _collector() as paths:
        found = await outputs(100, count, 100, ("--otel",) if kind == "on" else ())
    # Of a run that is shorter than a second there are no metrics: that is how often they are taken.
    if ("/v1/traces" in paths) != (kind == "on") or (paths and kind == "off"):
        raise RuntimeError(f"telemetry is {kind}, and the collector got {sorted(set(paths))}")
    return found


def _said(kind: str, found: Estimate) -> str:
    return (
        f"{kind:<4} {found.ratio:.3f}x of without ({found.low:.3f} to {found.high:.3f}, 95 %, in {found.rounds} rounds)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; returns 0 where ``off`` costs nothing that shows and ``on`` a tenth at most."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="rounds at most (default: 40)")
    parser.add_argument("--within", type=float, default=0.02, help="how far intervals are to reach (default: 0.02)")
    parser.add_argument("--seconds", type=float, default=1800.0, help="time at most, after which no round begins")
    parser.add_argument("--quick", action="store_true", help="a tenth of the outputs: to see that it works")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("opentelemetry") is None:
        parser.error("OpenTelemetry isn't here: pip install '.[otel]'")
    count = 500 if options.quick else 5000
    subjects = [Subject(kind, "benchmarks.telemetry:rate", {"kind": kind, "count": count}) for kind in KINDS]
    ratios: dict[str, list[float]] = {"off": [], "on": []}
    end = time.monotonic() + options.seconds
    for number in range(max(options.rounds, FEWEST)):
        if number >= FEWEST:
            found = [estimate(each) for each in ratios.values()]
            if time.monotonic() > end or all(each.reach <= options.within for each in found):
                break
        first = number % len(subjects)
        rates = {each.name: each.run()["rate"] for each in (*subjects[first:], *subjects[:first])}
        say(f"round {number + 1}: " + ", ".join(f"{kind} {rates[kind]:,.0f}" for kind in KINDS) + " outputs/s")
        for kind, each in ratios.items():
            each.append(rates[kind] / rates["without"])
    off, on = estimate(ratios["off"]), estimate(ratios["on"])
    print(_said("off", off))
    print(_said("on", on))
    return 0 if off.low <= 1.0 <= off.high and on.ratio >= 0.9 else 1


if __name__ == "__main__":
    sys.exit(main())
