"""NATS servers for tests: started on free ports, with their stores in a temporary directory, and stopped."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from asyncblock.errors import Unavailable
from asyncblock.server.jetstream import Demands, JetStreamJournal, PartitionNames
from asyncblock.server.jetstream.natsstore import NatsRefused, NatsStore, NatsUnsure
from benchmarks.rivals.servers import free_port

__all__ = ["NatsServers", "nats_servers", "running_servers"]

PROGRAM = str(Path(sys.executable).parent / "nats-server")

_DEFAULTS = {"max_payload": "8388608", "sync_interval": "always"}


class NatsServers:
    """One server, or a cluster of them."""

    def __init__(self, directory: Path, count: int, settings: dict[str, str]) -> None:
        self.directory = directory
        self.count = count
        self._settings = {**_DEFAULTS, **settings}
        self._ports = [free_port() for _ in range(count)]
        self._monitors = [free_port() for _ in range(count)]
        self._routes = [free_port() for _ in range(count)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._partitions = 0

    @property
    def urls(self) -> list[str]:
        """Where they listen."""
        return [f"nats://127.0.0.1:{port}" for port in self._ports]

    @property
    def monitoring(self) -> list[str]:
        """Where their monitoring is."""
        return [f"http://127.0.0.1:{port}" for port in self._monitors]

    @property
    def demands(self) -> Demands:
        """What they can keep."""
        return Demands(servers_sync_always=True, replicas=self.count)

    @property
    def who(self) -> dict[str, str]:
        """Who one is there."""
        user, _, password = self._settings.get("user", "").partition(":")
        return {"user": user, "password": password} if user else {}

    def store_of(self, number: int) -> Path:
        """Return where a server keeps its streams."""
        return self.directory / f"store{number}"

    def start(self, number: int) -> None:
        """Start one of them."""
        jetstream = f'store_dir: "{self.store_of(number)}", sync_interval: {self._settings["sync_interval"]}'
        lines = [
            f"listen: 127.0.0.1:{self._ports[number]}",
            f"http: 127.0.0.1:{self._monitors[number]}",
            f"server_name: n{number}",
            f"max_payload: {self._settings['max_payload']}",
            "" if self._settings.get("jetstream") == "off" else f"jetstream {{ {jetstream} }}",
        ]
        if "user" in self._settings:
            user, _, password = self._settings["user"].partition(":")
            lines.append(f'authorization {{ users: [{{user: "{user}", password: "{password}"}}] }}')
        if self.count > 1:
            routes = ", ".join(f"nats://127.0.0.1:{port}" for port in self._routes)
            lines.append(f"cluster {{ name: c, listen: 127.0.0.1:{self._routes[number]}, routes: [{routes}] }}")
        config = self.directory / f"n{number}.conf"
        config.write_text("\n".join(lines))
        with (self.directory / f"n{number}.log").open("ab") as log:
            self._processes[number] = subprocess.Popen([PROGRAM, "-c", str(config)], stdout=log, stderr=log)

    def kill(self, number: int) -> None:
        """End one of them by kill -9."""
        process = self._processes.pop(number)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """End them all."""
        for number in [*self._processes]:
            self.kill(number)

    def new_names(self) -> PartitionNames:
        """Return the names of a partition that isn't there."""
        self._partitions += 1
        return PartitionNames("test", self._partitions)

    async def listening(self) -> None:
        """Wait until the monitoring answers, which is there before JetStream is asked for anything."""
        for port in self._monitors:
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                break

    async def ready(self) -> None:
        """Wait until JetStream takes streams of as many replicas as there are servers."""
        config = {"name": "READY", "subjects": ["ready"], "num_replicas": self.count, "storage": "memory"}
        while True:
            try:
                store = await NatsStore.open(self.urls, patience=2, max_reconnect_attempts=0, **self.who)
            except Unavailable:
                # It says when it listens to nobody but its log; a refused connection costs nothing.
                await asyncio.sleep(0.05)
                continue
            try:
                await store.ask("STREAM.CREATE.READY", config)
                await store.ask("STREAM.DELETE.READY")
                return
            except (NatsRefused, NatsUnsure):
                await asyncio.sleep(0.1)
            finally:
                await store.close()

    async def delete(self, names: PartitionNames) -> None:
        """Delete a partition, so that the servers have little to do for those to come."""
        store = await NatsStore.open(self.urls)
        for stream in (names.stream, names.bodies):
            try:
                await store.ask(f"STREAM.DELETE.{stream}")
            except (NatsRefused, NatsUnsure):
                continue
        await store.close()

    async def open(self, names: PartitionNames, **options: object) -> JetStreamJournal:
        """Open the journal of a partition."""
        return await JetStreamJournal.open(self.urls, names, self.demands, **options)  # type: ignore[arg-type]


@contextmanager
def nats_servers(directory: Path, count: int = 1, settings: dict[str, str] | None = None) -> Iterator[NatsServers]:
    """Run servers, where no event loop runs."""
    with _started(directory, count, settings or {}) as servers:
        if (settings or {}).get("jetstream") != "off":
            asyncio.run(servers.ready())
        yield servers


@asynccontextmanager
async def running_servers(
    directory: Path, count: int = 1, settings: dict[str, str] | None = None
) -> AsyncIterator[NatsServers]:
    """Run servers for the duration of the block."""
    with _started(directory, count, settings or {}) as servers:
        if (settings or {}).get("jetstream") != "off":
            await servers.ready()
        yield servers


@contextmanager
def _started(directory: Path, count: int, settings: dict[str, str]) -> Iterator[NatsServers]:
    servers = NatsServers(directory, count, settings)
    try:
        for number in range(count):
            servers.start(number)
        yield servers
    finally:
        servers.stop()
        for number in range(count):
            shutil.rmtree(servers.store_of(number), ignore_errors=True)
