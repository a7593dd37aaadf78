"""Where things are: the mainframe that a command talks to, and the data directories of ``run``."""

from __future__ import annotations

import secrets
import shutil
import ssl
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from ..client import Mainframe, connect
from ..errors import Unavailable
from ..server.journal.datadir import DataDir, default_data_dir, read_address, read_token
from ..server.journal.peek import peek_sessions
from ..transport.websocket import is_loopback

__all__ = ["COMMAND_TIMEOUT", "Target", "find_run", "new_run_directory", "packages_of_run", "reach", "remember_run"]

COMMAND_TIMEOUT = 5.0
"""Seconds that a command tries to reach a mainframe."""

_KEPT_RUNS = 20
"""Data directories of ``run`` that are kept for ``resume``; the oldest beyond are deleted."""


@dataclass(frozen=True, slots=True)
class Target:
    """Which mainframe is meant, as far as the command line and the environment say."""

    url: str | None = None
    token: str | None = None
    data_dir: Path | None = None
    tls_ca: Path | None = None

    @property
    def directory(self) -> Path:
        """The data directory of the mainframe that is served here."""
        return self.data_dir or default_data_dir() / "mainframe"

    def address(self) -> tuple[str, str | None]:
        """Return address and token: as told, or those of the mainframe that is served from the data directory.

        A directory's token is for its own mainframe: it isn't shown to any other machine.
        """
        served = read_address(self.directory)
        if self.url is None:
            if served is None:
                raise Unavailable(
                    f"no mainframe is served from {self.directory}; start one with 'asyncblock serve', or give --url "
                    "and --token"
                )
            return str(served["url"]), self.token or read_token(self.directory)
        own = self.data_dir is not None or is_loopback(urlsplit(self.url).hostname or "")
        if own or (served is not None and served.get("url") == self.url):
            return self.url, self.token or read_token(self.directory)
        return self.url, self.token

    def tls(self) -> ssl.SSLContext | None:
        """Return how TLS is checked; None for the system's own certificates, or where there is no TLS."""
        url, _ = self.address()
        if self.tls_ca is None or not url.startswith("wss:"):
            return None
        try:
            return ssl.create_default_context(cafile=str(self.tls_ca))
        except (OSError, ssl.SSLError) as error:
            raise Unavailable(f"can't read the certificates in {self.tls_ca}: {error}") from error


@asynccontextmanager
async def reach(target: Target) -> AsyncIterator[Mainframe]:
    """Connect to the mainframe for the duration of the block."""
    url, token = target.address()
    async with connect(url, token, timeout=COMMAND_TIMEOUT, tls=target.tls()) as mainframe:
        yield mainframe


def _runs() -> list[Path]:
    parent = default_data_dir() / "runs"
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def new_run_directory() -> Path:
    """Name a data directory for one run, and delete the oldest of earlier ones that nobody uses."""
    older = _runs()
    for path in older[: max(len(older) - _KEPT_RUNS + 1, 0)]:
        try:
            with DataDir.open(path):
                shutil.rmtree(path, ignore_errors=True)
        except Unavailable:
            continue
    return default_data_dir() / "runs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def remember_run(directory: Path, packages: Iterable[Path]) -> None:
    """Note in a run's data directory where the blocks of its sessions are, for ``resume``. The directory is ours."""
    every = dict.fromkeys([*packages_of_run(directory), *map(str, packages)])
    fresh = directory / "run.new"
    fresh.write_bytes(orjson.dumps({"packages": list(every)}))
    fresh.replace(directory / "run")


def packages_of_run(directory: Path) -> list[str]:
    """Return the packages that runs in a data directory have used."""
    try:
        return [str(package) for package in orjson.loads((directory / "run").read_bytes())["packages"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def find_run(session_id: str) -> Path:
    """Return the data directory of the run that has a session.

    Raises ``Unavailable`` when none has; the message lists what could be resumed.
    """
    unfinished = []
    for directory in reversed(_runs()):
        for row in peek_sessions(directory):
            if row.session_id == session_id:
                return directory
            if row.state == "running":
                unfinished.append(f"{row.session_id} ({row.title})")
    known = f"; these haven't ended: {', '.join(unfinished)}" if unfinished else ""
    raise Unavailable(
        f"none of the last {_KEPT_RUNS} runs has a session {session_id!r}; give --data-dir if the run had one{known}"
    )
