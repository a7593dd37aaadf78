"""The NATS nodes of a set under chaos: processes on ports of their own, with fault proxies on the ways between them.

Nodes tell neither clients nor each other of addresses beside those that they were given, which would lead past the
proxies.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from ...errors import Unavailable
from ...server.cluster.clusterset import SetDescription, make_set, read_set
from ...server.jetstream import Demands, PartitionNames
from ...server.jetstream.natsstore import NatsRefused, NatsStore, NatsUnsure
from ..proxy import FaultProxy
from .keptprocess import KeptProcess, free_port
from .proxies import FaultProxies

__all__ = ["NatsNodes", "nats_program"]

_READY = 60.0
"""Seconds that the nodes have to find a leader."""


def nats_program() -> str | None:
    """Return where nats-server is: beside this interpreter, or on the path; None without it."""
    return shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")


class NatsNodes:
    """So many nodes, whose stores are in a directory. Use it with ``async with``."""

    def __init__(self, directory: Path, count: int) -> None:
        self.nodes: list[KeptProcess] = []
        self.routes: FaultProxies = FaultProxies([])
        """The ways to each node from the others."""
        self.ports = [free_port() for _ in range(count)]
        """Where clients of the nodes connect."""
        self._directory = directory
        self._store: NatsStore
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> NatsNodes:
        program = nats_program()
        assert program is not None
        async with AsyncExitStack() as stack:
            listening = [free_port() for _ in self.ports]
            routes = [await stack.enter_async_context(FaultProxy("127.0.0.1", port)) for port in listening]
            self.routes = FaultProxies(routes)
            for number in range(len(self.ports)):
                config = self._directory / f"node{number}.conf"
                config.write_text(self._config(number, listening[number], [each.port for each in routes]))
                node = KeptProcess(f"node {number}", [program, "-c", str(config)], config.with_suffix(".log"))
                self.nodes.append(await stack.enter_async_context(node))
            self._store = await self._connected()
            stack.push_async_callback(self._store.close)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    @property
    def urls(self) -> list[str]:
        """The way to each that nothing harms."""
        return [f"nats://127.0.0.1:{port}" for port in self.ports]

    @property
    def demands(self) -> Demands:
        """What they keep."""
        return Demands(servers_sync_always=True, replicas=len(self.ports))

    def pids(self) -> list[int]:
        """Return the process ids of those that run."""
        return [pid for node in self.nodes for pid in node.pids]

    async def make_set(self, name: str) -> SetDescription:
        """Make a set, as soon as there is a leader. **Cancellation** may leave a part of it."""
        async with asyncio.timeout(_READY):
            while True:  # other processes: nobody here can be told
                try:
                    return await make_set(self._store, name, 1, self.demands, sync_seen=True)
                except Unavailable:
                    try:
                        return await read_set(self._store, name)
                    except Unavailable:
                        await asyncio.sleep(0.1)

    async def leader(self, names: PartitionNames) -> KeptProcess | None:
        """Return the node that leads a partition's stream; None when nobody says. **Cancellation** is safe."""
        try:
            info = await self._store.ask(f"STREAM.INFO.{names.stream}")
        except (NatsRefused, NatsUnsure):
            return None
        led = (info.get("cluster") or {}).get("leader", "n0")
        return next((node for number, node in enumerate(self.nodes) if led == f"n{number}"), None)

    def calm(self) -> None:
        """Let everything flow and run again."""
        self.routes.resume()
        for node in self.nodes:
            node.tell(signal.SIGCONT)

    def _config(self, number: int, listening: int, routes: list[int]) -> str:
        lines = [
            f"listen: 127.0.0.1:{self.ports[number]}",
            f"server_name: n{number}",
            "max_payload: 8388608",
            f'jetstream {{ store_dir: "{self._directory / f"node{number}"}", sync_interval: always }}',
        ]
        if len(routes) > 1:
            to = ", ".join(f"nats://127.0.0.1:{port}" for port in routes if port != routes[number])
            own = f"advertise: 127.0.0.1:{routes[number]}, no_advertise: true"
            lines.append(f"cluster {{ name: c, listen: 127.0.0.1:{listening}, {own}, routes: [{to}] }}")
        return "\n".join(lines)

    async def _connected(self) -> NatsStore:
        async with asyncio.timeout(_READY):
            while True:  # other processes: nobody here can be told
                try:
                    return await NatsStore.open(self.urls, patience=2.0, name="chaos")
                except Unavailable:
                    await asyncio.sleep(0.1)
