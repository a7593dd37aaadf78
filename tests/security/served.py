"""A mainframe behind a real port with a token for each role, and peers that speak by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import asyncblock
from asyncblock.client import Mainframe
from asyncblock.server import MainframeServer
from asyncblock.server.settings import Settings
from asyncblock.transport.websocket import connect_websocket
from asyncblock.wire.frames import MAX_MESSAGE

from ..peers import Peer
from ..processes import free_port, start
from .innocent import Innocent, innocent
from .starved import Starved

__all__ = ["ROLES", "House", "Served", "served", "served_apart"]

ROLES = ("executor", "client", "observer")


@dataclass
class House:
    """A mainframe on a port, the tokens of its roles, and peers that speak by hand over real websockets."""

    url: str
    directory: Path
    executor: Mainframe
    client: Mainframe
    starved: Starved
    stack: AsyncExitStack

    async def peer(self, role: str) -> Peer:
        """Connect with a role's token; the greeting is the peer's."""
        peer = Peer(await connect_websocket(self.url, f"token-of-{role}", max_message=MAX_MESSAGE))
        self.stack.push_async_callback(peer.transport.close)
        return peer

    @asynccontextmanager
    async def innocent(self) -> AsyncIterator[Innocent]:
        """Run an innocent job for the duration of the block; at its end nothing may have disturbed it."""
        async with innocent(self.directory, self.executor, self.client, self.starved) as made:
            yield made


@dataclass
class Served(House):
    """One whose mainframe is in this process."""

    server: MainframeServer


@asynccontextmanager
async def served(directory: Path, settings: Settings | None = None) -> AsyncIterator[Served]:
    """Serve a mainframe on a port for the duration of the block."""
    # Peers that are written by hand say nothing when they have nothing to say.
    made = replace(settings or Settings(heartbeat=60), token_file=_tokens(directory))
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(MainframeServer(directory / "data", made))
        url = await stack.enter_async_context(server.listen("127.0.0.1", 0))
        yield Served(url, directory, *await _connected(url, stack), Starved(), stack, server)


@asynccontextmanager
async def served_apart(directory: Path) -> AsyncIterator[House]:
    """Serve one in a process of its own, where nothing that a test computes holds it up."""
    port = free_port()
    async with AsyncExitStack() as stack:
        arguments = ("serve", "--port", str(port), "--token-file", str(_tokens(directory)))
        server = await stack.enter_async_context(start(*arguments, state=directory))
        await server.until_line("mainframe at", err=True)
        url = f"ws://127.0.0.1:{port}"
        starved = Starved(server.process.pid, apart=True)
        yield House(url, directory, *await _connected(url, stack), starved, stack)


def _tokens(directory: Path) -> Path:
    tokens = directory / "tokens"
    tokens.write_text("".join(f"token-of-{role} {role}\n" for role in ROLES))
    tokens.chmod(0o600)
    return tokens


async def _connected(url: str, stack: AsyncExitStack) -> tuple[Mainframe, Mainframe]:
    """Connect as an executor and as a client."""
    executor = await stack.enter_async_context(asyncblock.connect(url, "token-of-executor"))
    return executor, await stack.enter_async_context(asyncblock.connect(url, "token-of-client"))
