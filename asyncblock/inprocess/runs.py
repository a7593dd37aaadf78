"""The data directories of runs that have a mainframe of their own: ``asyncblock run``, and ``Flow.run`` that failed."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from ..errors import Unavailable
from ..server.journal.datadir import DataDir, default_data_dir
from ..server.journal.peek import peek_sessions

__all__ = ["find_run", "local_runs", "new_run_directory", "offers_of_run", "packages_of_run", "remember_run"]

_KEPT_RUNS = 20
"""Data directories of runs that are kept; the oldest beyond are deleted."""


def local_runs() -> list[Path]:
    """Return the data directories of runs, the oldest first."""
    parent = default_data_dir() / "runs"
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def new_run_directory() -> Path:
    """Name a data directory for one run, and delete the oldest of earlier ones that nobody uses."""
    older = local_runs()
    for path in older[: max(len(older) - _KEPT_RUNS + 1, 0)]:
        try:
            with DataDir.open(path):
                shutil.rmtree(path, ignore_errors=True)
        except Unavailable:
            continue
    return default_data_dir() / "runs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def remember_run(
    directory: Path, packages: Iterable[Path], offers: Mapping[str, Any] | None = None, labels: Sequence[str] = ()
) -> None:
    """Note in a run's data directory where the blocks of its sessions are, and what was offered to them, for
    ``resume``. The directory is ours."""
    every = dict.fromkeys([*packages_of_run(directory), *map(str, packages)])
    offered = (dict(offers or {}), [*labels]) if offers or labels else offers_of_run(directory)
    fresh = directory / "run.new"
    fresh.write_bytes(orjson.dumps({"packages": list(every), "offers": offered[0], "labels": offered[1]}))
    fresh.replace(directory / "run")


def offers_of_run(directory: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what runs in a data directory have offered, and their labels."""
    try:
        found = orjson.loads((directory / "run").read_bytes())
        return dict(found.get("offers", {})), tuple(found.get("labels", ()))
    except (OSError, ValueError, AttributeError, TypeError):
        return {}, ()


def packages_of_run(directory: Path) -> list[str]:
    """Return the packages that runs in a data directory have used."""
    try:
        return [str(package) for package in orjson.loads((directory / "run").read_bytes())["packages"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def find_run(session_id: str) -> tuple[Path, str]:
    """Return the data directory of the run that has a session, and the session's id, of which the beginning is enough.

    Raises ``Unavailable`` when none has, or several; the message lists what could be resumed.
    """
    unfinished, found = [], {}
    for directory in reversed(local_runs()):
        for row in peek_sessions(directory):
            if row.session_id == session_id:
                return directory, session_id
            if row.session_id.startswith(session_id):
                found[row.session_id] = directory
            if row.state == "running":
                unfinished.append(f"{row.session_id} ({row.title})")
    if len(found) > 1:
        raise Unavailable(f"several sessions begin with {session_id!r}: {', '.join(found)}; say more of the id")
    for whole, directory in found.items():
        return directory, whole
    known = f"; these haven't ended: {', '.join(unfinished)}" if unfinished else ""
    raise Unavailable(
        f"none of the last {_KEPT_RUNS} runs has a session {session_id!r}; give --data-dir if the run had one{known}"
    )
