"""Services of an executor: when each is started, which call gets which, and when it stops.

A service belongs to its session, or with ``app_start``, ``app_end`` or ``never`` to the executor process: *app* is that
process. One with ``session_start`` is started with the first job of its package in a session, one with ``app_start``
when the executor gets to know the package; the others with their first call. It stops when its session or the executor
ends, or with ``block_end`` when no call has run for ``keep_alive`` seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..block import Binding
from ..flow.lookup import FILES
from ..flow.yamlfile import read_yaml
from ..runtime.offload import wait_in_thread
from ..wire.messages import ServiceMessage
from .environment import Environment
from .service import RunningService

__all__ = ["ServiceSpec", "Services"]

logger = logging.getLogger("asyncblock.executor")

KEEP_ALIVE = 10.0
"""Seconds that a service with ``stop_at: block_end`` waits for another call."""


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """Where a service's code is and how long it lives."""

    package: str
    digest: str
    directory: str
    entry: str
    function: str
    start_at: str = "block_start"
    stop_at: str = "session_end"
    keep_alive: float | None = None
    root: str = ""
    """The package's directory, where several have the same code."""

    @classmethod
    def of(cls, block: Mapping[str, Any]) -> ServiceSpec:
        """Read what a dispatched block says of its service."""
        service = block["service"]
        keep_alive = service.get("keep_alive")
        return cls(
            package=str(block["package"]),
            digest=str(block["hash"]),
            directory=str(block.get("dir") or "."),
            entry=str(block["entry"]),
            function=str(block["function"]),
            start_at=str(service.get("start_at") or "block_start"),
            # The original writes it with a capital on its wire.
            stop_at=str(service.get("stop_at") or "session_end").lower(),
            keep_alive=float(keep_alive) if isinstance(keep_alive, (int, float)) else None,
            root=str(block.get("root", "")),
        )

    @property
    def outlives_sessions(self) -> bool:
        """Tell whether it belongs to the executor rather than to a session."""
        return self.start_at == "app_start" or self.stop_at in ("app_end", "never")

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.package}::{Path(self.directory).name}"

    def to_spec(self) -> dict[str, Any]:
        """Return what the catalog needs to find the function."""
        return {
            "package": self.package,
            "hash": self.digest,
            "dir": self.directory,
            "entry": self.entry,
            "function": self.function,
            "root": self.root,
        }


Key = tuple[str, ServiceSpec]
"""A running service: the session that it belongs to, or nothing, and which it is."""


class Services:
    """The running services of one attachment. On the executor's loop."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._running: dict[Key, RunningService] = {}
        self._idle: dict[Key, asyncio.TimerHandle] = {}
        self._known: dict[str, list[ServiceSpec]] = {}
        """The services in a package's files, by the package's hash."""
        self._begun: set[tuple[str, str]] = set()

    async def take(self, block: Mapping[str, Any], session_id: str) -> tuple[Binding, Callable[[], None]]:
        """Return the handler of a call, with the service running, and what to do when the call has ended.

        **Cancellation** leaves the service running. Raises what the service failed with; the next call starts it anew.
        """
        root = await wait_in_thread(self._environment.catalog.root, block)
        key, service = self._started(ServiceSpec.of({**block, "root": root}), session_id)
        service.calls += 1
        self._stay(key)
        try:
            binding = await service.handler(str(block["service"]["block"]))
        except BaseException:
            # A cancel too: the call was counted, and a service with calls is kept.
            self._release(key, service)
            raise
        return binding, lambda: self._release(key, service)

    def message(self, message: ServiceMessage) -> None:
        """Hand a message to the service that it is for, if that runs here."""
        for (session_id, spec), service in self._running.items():
            where = (spec.digest, spec.directory)
            if where == (message.package, message.dir) and session_id in ("", message.session_id):
                service.message(message, self._environment.tasks)

    def job_begins(self, block: Mapping[str, Any], session_id: str) -> None:
        """Start the services that a package has with the session, when its first job is here."""
        digest = str(block.get("hash"))
        if (session_id, digest) not in self._begun:
            self._begun.add((session_id, digest))
            self._environment.tasks.create_task(self._ahead(digest, "session_start", session_id))

    def packages_known(self) -> None:
        """Start the services that packages have with the executor, when a package is new here."""
        for digest in self._environment.catalog.packages():
            if ("", digest) not in self._begun:
                self._begun.add(("", digest))
                self._environment.tasks.create_task(self._ahead(digest, "app_start", ""))

    def end_session(self, session_id: str) -> None:
        """Stop what belongs to a session."""
        self._begun = {each for each in self._begun if each[0] != session_id}
        for key in [key for key in self._running if key[0] == session_id]:
            self._stop_soon(key)

    async def close(self) -> None:
        """Stop everything. **Cancellation** leaves the rest running."""
        for key in list(self._running):
            await self._stop(key)
        for timer in self._idle.values():
            timer.cancel()

    # ------------------------------------------------------------------ starting

    async def _ahead(self, digest: str, start_at: str, session_id: str) -> None:
        """Start services before their first calls; those are told of an error."""
        try:
            if digest not in self._known:
                if not self._environment.catalog.roots_of(digest):
                    return
                self._known[digest] = await wait_in_thread(self._find, digest)
            for spec in self._known[digest]:
                if spec.start_at == start_at:
                    self._started(spec, session_id)
        except Exception:  # the end of a task of its own: what is wrong with one package mustn't end the executor
            logger.exception("the services of package %s can't be read", digest[:12])

    def _find(self, digest: str) -> list[ServiceSpec]:
        """Read the manifests of a package's services; those that can't be read are none."""
        catalog = self._environment.catalog
        name = catalog.packages().get(digest, "")
        return [each for root in catalog.roots_of(digest) for each in _services_in(root, name, digest)]

    def _started(self, spec: ServiceSpec, session_id: str) -> tuple[Key, RunningService]:
        """Return the running service, started if need be."""
        key = ("" if spec.outlives_sessions else session_id, spec)
        service = self._running.get(key)
        if service is None or service.over:
            catalog = self._environment.catalog
            service = RunningService(spec.name, key[0] or None, self._environment.inbox, catalog.roots)
            service.begin(lambda: catalog.function(spec.to_spec(), key[0]), self._environment.tasks)
            self._running[key] = service
        return key, service

    # ------------------------------------------------------------------ stopping

    def _stay(self, key: Key) -> None:
        timer = self._idle.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _release(self, key: Key, service: RunningService) -> None:
        service.calls -= 1
        spec = key[1]
        if service.calls == 0 and spec.stop_at == "block_end" and self._running.get(key) is service:
            self._stay(key)
            delay = KEEP_ALIVE if spec.keep_alive is None else spec.keep_alive
            self._idle[key] = self._environment.loop.call_later(delay, self._stop_soon, key)

    def _stop_soon(self, key: Key) -> None:
        self._environment.tasks.create_task(self._stop(key))

    async def _stop(self, key: Key) -> None:
        self._stay(key)
        service = self._running.pop(key, None)
        if service is not None:
            await service.stop()


def _services_in(root: Path, name: str, digest: str) -> list[ServiceSpec]:
    found: list[ServiceSpec] = []
    for file in sorted(each for folder in FILES["service"][0] for each in root.glob(f"{folder}/*/service.oo.y*ml")):
        manifest, _ = read_yaml(file)
        executor = manifest.get("executor") if manifest is not None else None
        if not isinstance(executor, Mapping):
            continue
        directory = file.parent.relative_to(root)
        block = {
            "package": name,
            "hash": digest,
            "root": root,
            "dir": directory.as_posix(),
            "entry": (directory / str(executor.get("entry", "index.py"))).as_posix(),
            "function": executor.get("function", "main"),
            "service": executor,
        }
        found.append(ServiceSpec.of(block))
    return found
