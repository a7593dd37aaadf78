"""Values between the engine and our executors: bytes in files of the session, and what a dispatch can't hold."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from pathlib import Path
from typing import Any

import orjson

from ..wire.bodies import INLINE_LIMIT, BodyRef
from .enginejobs import EngineJob
from .enginewords import bin_value, read_input
from .executorlink import BRIDGE

__all__ = ["EngineValues"]

_INLINE = 1 << 20
"""Bytes of inputs that a dispatch carries itself."""


class EngineValues:
    """The bodies that this bridge has named, each kept as long as the job that it is for."""

    def __init__(self, session_dir: Path) -> None:
        self._session_dir = session_dir
        self._bodies: dict[int, bytes] = {}
        self._numbers = itertools.count(1)

    def body(self, n: int) -> bytes | None:
        """Return a body, or None when its job is over."""
        return self._bodies.get(n)

    def drop(self, job: EngineJob) -> None:
        """Let go of what was kept for a job."""
        for n in job.numbers:
            self._bodies.pop(n, None)

    async def set_inputs(self, job: EngineJob, inputs: dict[str, Any]) -> None:
        """Put a job's inputs into the forms of a dispatch: files are read, what is large becomes a body.

        **Cancellation** is safe. Raises ``OSError`` for a file that can't be read.
        """
        room = _INLINE
        for handle, value in inputs.items():
            kind, inner = read_input(value)
            size = 0 if kind == "file" else len(orjson.dumps(inner))
            if kind == "value" and size <= INLINE_LIMIT and size <= room:
                job.given[handle] = inner
                room -= size
            else:
                body = await self.keep(job, bin_value(inner) if kind == "file" else inner, always=True)
                assert body is not None
                job.bodies[handle] = body

    async def keep(self, job: EngineJob, value: Any, *, always: bool = False) -> dict[str, Any] | None:
        """Make a body, for as long as a job is open, of a value that is large or a file; None for another one.

        **Cancellation** is safe. Raises ``OSError`` for a file that can't be read.
        """
        kind, inner = read_input(value)
        if kind == "file":
            content, digest = await asyncio.to_thread(_read, Path(inner))
        else:
            content = orjson.dumps(inner)
            if len(content) <= INLINE_LIMIT and not always:
                return None
            digest = await asyncio.to_thread(_sum_of, content)
        n = next(self._numbers)
        if not job.over:
            self._bodies[n] = content
            job.numbers.append(n)
        ref = BodyRef(n, len(content), digest, "raw" if kind == "file" else "json", BRIDGE)
        return ref.to_json()

    def path_for(self, job: EngineJob, handle: str) -> Path:
        """Return where the bytes of an output are put: each value has a file of its own."""
        count = job.written[handle] = job.written.get(handle, 0) + 1
        directory = self._session_dir / "binary" / job.words.session_id / job.words.job_id
        return directory / (handle if count == 1 else f"{handle}.{count}")

    @staticmethod
    def write(path: Path, content: bytes) -> None:
        """Write bytes into a file. On a worker thread."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _read(path: Path) -> tuple[bytes, str]:
    content = path.read_bytes()
    return content, _sum_of(content)


def _sum_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
