"""Sets for tests: members as processes, on real NATS servers."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from asyncblock.server.cluster.clusterset import make_set
from asyncblock.server.cluster.setstatus import SetStatus, set_status
from asyncblock.server.jetstream.natsstore import NatsStore

from ...processes import Command, free_port, start
from ..jetstream.servers import NatsServers

__all__ = ["Member", "Set", "a_set"]


@dataclass
class Member:
    """A member, as a process."""

    command: Command
    url: str
    data_dir: Path

    @property
    def health(self) -> str:
        """Where it says how it is."""
        return self.url.replace("ws:", "http:") + "/healthz"


@dataclass
class Set:
    """A set of which members run."""

    nats: NatsServers
    name: str
    state: Path
    stack: AsyncExitStack
    members: list[Member] = field(default_factory=list)

    async def serve(self, *more: str | Path) -> Member:
        """Start one more member."""
        port = free_port()
        data_dir = self.state / f"member{len(self.members)}"
        servers = ",".join(self.nats.urls)
        given = ("--cluster", servers, "--name", self.name, "--data-dir", data_dir, *more)
        command = await self.stack.enter_async_context(start("serve", "--port", str(port), *given, state=self.state))
        await command.until_line("mainframe at", err=True)
        self.members.append(Member(command, f"ws://127.0.0.1:{port}", data_dir))
        return self.members[-1]

    @property
    def reach(self) -> tuple[str, ...]:
        """What a command is given to reach the set."""
        token = (self.members[0].data_dir / "token").read_text().strip()
        return ("--url", ",".join(each.url for each in self.members), "--token", token)

    async def status(self) -> SetStatus:
        """Look at the set."""
        store = await NatsStore.open(self.nats.urls)
        try:
            return await set_status(store, self.name)
        finally:
            await store.close()

    async def owner(self, *, other: Member | None = None) -> Member:
        """Wait for an owner, other than one."""
        async with asyncio.timeout(60):
            while True:
                found = (await self.status()).owner_of(0)
                if found is not None and found.state == "owner":
                    [member] = [each for each in self.members if each.url == found.address]
                    if member is not other:
                        return member

    async def spread(self, *members: Member) -> None:
        """Wait until these own as many partitions each, give or take one, and nobody else owns any."""
        async with asyncio.timeout(120):
            while True:
                status = await self.status()
                partitions = range(status.description.partitions)
                owners = [owner for each in partitions if (owner := status.owner_of(each)) is not None]
                counts = Counter(owner.address for owner in owners if owner.state == "owner")
                least = len(partitions) // len(members)
                there = counts.total() == len(partitions) and set(counts) == {each.url for each in members}
                if there and min(counts.values()) == least:
                    return


@asynccontextmanager
async def a_set(nats: NatsServers, state: Path, members: int = 2, partitions: int = 1) -> AsyncIterator[Set]:
    """Make a set and let members of it serve."""
    name = f"s{secrets.token_hex(3)}"
    store = await NatsStore.open(nats.urls)
    await make_set(store, name, partitions, nats.demands)
    await store.close()
    async with AsyncExitStack() as stack:
        made = Set(nats, name, state, stack)
        for _ in range(members):
            await made.serve()
        yield made
