"""Members of a set as processes, on a real nats-server: killed, stopped, told to leave, while a flow runs."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from asyncblock.errors import ConnectionLost
from asyncblock.server.cluster.clusterservers import ClusterServers
from asyncblock.server.cluster.members import ClusterMember
from asyncblock.server.mainframe import MainframeServer
from asyncblock.testing import FaultProxy
from asyncblock.transport.upgrades import StandsBy
from asyncblock.transport.websocket import connect_websocket
from asyncblock.wire.frames import MAX_MESSAGE

from ...flows import node, write_flow
from ...peers import Peer
from ...processes import Command, free_port, run, start
from ..jetstream.servers import NatsServers
from .sets import Set, a_set
from .streams import check_stream

STEPS = 40

# Says each step in a file, so that a step that runs twice is seen; and waits for a file before the middle one.
WORKS = """
    import asyncio, os

    async def main(inputs, ctx):
        directory = inputs["directory"]
        with open(f"{directory}/runs", "a") as runs:
            runs.write("run\\n")
        for n in range(%d):
            if n == %d:
                open(f"{directory}/half", "w").close()
                while not os.path.exists(f"{directory}/go"):
                    await asyncio.sleep(0.02)
            await ctx.output(n, "step")
            await asyncio.sleep(0.01)
        await ctx.output("done", "out")
        open(f"{directory}/over", "w").close()
""" % (STEPS, STEPS // 2)  # noqa: UP031

ADDS = """
    async def main(inputs, ctx):
        print("step", inputs["step"])
        await ctx.output(inputs["step"] ** 2, "square")
"""


def flow_of(directory: Path) -> Path:
    works = node(
        "works",
        WORKS,
        directory,
        inputs=[{"handle": "directory"}],
        outputs=("step", "out"),
        inputs_from=[{"handle": "directory", "value": str(directory)}],
    )
    adds = node(
        "adds",
        ADDS,
        directory,
        inputs=[{"handle": "step"}],
        outputs=("square",),
        inputs_from=[{"handle": "step", "from_node": [{"node_id": "works", "output_handle": "step"}]}],
    )
    return write_flow(directory, [works, adds])


async def until_there(path: Path) -> None:
    async with asyncio.timeout(60):
        while not path.exists():  # noqa: ASYNC110  # another process makes it
            await asyncio.sleep(0.02)


async def executing(found: Set, package: Path, *reach: str) -> Command:
    command = await found.stack.enter_async_context(
        start("executor", *(reach or found.reach), "--package", package, state=found.state)
    )
    await command.until_line("executor for", err=True)
    return command


def check_flow(submit: Command, directory: Path) -> None:
    """Each step came once, in order, of a block that ran once."""
    events = submit.events()
    steps = [each["output"] for each in events if each["type"] == "BlockOutput" and each.get("handle") == "step"]
    assert steps == list(range(STEPS))
    squares = sorted(
        each["output"] for each in events if each["type"] == "BlockOutput" and each.get("handle") == "square"
    )
    assert squares == [n * n for n in range(STEPS)]
    assert (directory / "runs").read_text() == "run\n"


@pytest.mark.timeout(240)
async def test_a_flow_goes_on_when_its_mainframe_is_killed(one_server: NatsServers, tmp_path: Path) -> None:
    flow = flow_of(tmp_path / "flow")
    async with a_set(one_server, tmp_path) as found:
        await executing(found, flow.parent)
        first = await found.owner()
        submit = await found.stack.enter_async_context(start("submit", flow, "--json", *found.reach, state=tmp_path))
        await until_there(flow.parent / "half")
        first.command.kill(signal.SIGKILL)
        await first.command.wait()
        (flow.parent / "go").touch()
        assert await submit.wait() == 0, submit.err
        check_flow(submit, flow.parent)
        second = await found.owner()
        assert second is not first
        listed = await run("sessions", "--json", *found.reach, state=tmp_path)
        assert [row["state"] for row in listed.events()] == ["succeeded"]
        # One that comes back stands by.
        back = await found.serve()
        async with httpx.AsyncClient(trust_env=False) as client:
            told = (await client.get(back.health)).json()
            assert told["status"] == "standby"


@pytest.mark.timeout(240)
async def test_a_stopped_owner_says_nothing_when_it_wakes(one_server: NatsServers, tmp_path: Path) -> None:
    """What it was asked while it was stopped, and what it has in its memory, is nobody's word any more."""
    async with a_set(one_server, tmp_path) as found:
        first = await found.owner()
        token = found.reach[-1]
        transport = await connect_websocket(first.url, token, max_message=MAX_MESSAGE)
        peer = Peer(transport)
        assert (await peer.hello())["op"] == "welcome"
        await first.command.stopped()
        await peer.say("request", id="r1", method="sessions", params={})
        second = await found.owner(other=first)
        first.command.kill(signal.SIGCONT)
        with pytest.raises(ConnectionLost):
            while b'"op":"ping"' in (said := await transport.receive()):
                continue
            pytest.fail(f"it said {said!r}")
        transport.abort()
        # It follows the new one.
        async with httpx.AsyncClient(trust_env=False) as client:
            async with asyncio.timeout(60):
                while (told := (await client.get(first.health)).json()).get("owner") != second.url:
                    continue
            assert told["status"] == "standby"
            who = {"Authorization": f"Bearer {token}"}
            refused = await client.get(first.url.replace("ws:", "http:"), headers=who)
            first_says, second_says = [
                (await client.get(each.health.replace("healthz", "metrics"), headers=who)).text.splitlines()
                for each in (first, second)
            ]
        [term] = [line for line in second_says if line.startswith("asyncblock_term ")]
        assert {"asyncblock_owner 1", "asyncblock_standby 0"} <= set(second_says)
        assert {"asyncblock_owner 0", "asyncblock_standby 1", term} <= set(first_says)
        assert refused.status_code == 503
        assert refused.headers["Asyncblock-Owner"] == second.url
        # Whoever knows only the address of one that stands by is sent on.
        listed = await run("sessions", "--url", first.url, "--token", token, "--json", state=tmp_path)
        assert listed.process.returncode == 0, listed.err


@pytest.mark.timeout(240)
async def test_who_knows_one_address_finds_those_that_took_over_from_it(
    one_server: NatsServers, tmp_path: Path
) -> None:
    """The Welcome names the others, and a ping one that came later: that one alone is left in the end."""
    flow = flow_of(tmp_path / "flow")
    async with a_set(one_server, tmp_path, members=1) as found:
        first = await found.owner()
        only = ("--url", first.url, *found.reach[2:])
        await executing(found, flow.parent, *only)
        submit = await found.stack.enter_async_context(start("submit", flow, "--json", *only, state=tmp_path))
        await until_there(flow.parent / "half")
        peer = Peer(await connect_websocket(first.url, found.reach[-1], max_message=MAX_MESSAGE))
        assert (await peer.hello())["addresses"] == [first.url]
        second = await found.serve()
        # Between two of its pings every other connection had one.
        for _ in range(2):
            async with asyncio.timeout(60):
                while second.url not in (await peer.until("ping")).get("addresses", ()):
                    await peer.say("ping")
        peer.transport.abort()
        first.command.kill(signal.SIGKILL)
        await first.command.wait()
        (flow.parent / "go").touch()
        assert await submit.wait() == 0, submit.err
        check_flow(submit, flow.parent)
        assert await found.owner() is second


@pytest.mark.timeout(300)
async def test_nothing_of_a_stopped_owner_is_stored_on_three_servers(
    three_servers: NatsServers, tmp_path: Path
) -> None:
    """What its executor sends while it is stopped waits in its sockets. It wakes with that when another one owns it."""
    flow = flow_of(tmp_path / "flow")
    async with a_set(three_servers, tmp_path) as found:
        await executing(found, flow.parent)
        first = await found.owner()
        submit = await found.stack.enter_async_context(start("submit", flow, "--json", *found.reach, state=tmp_path))
        await until_there(flow.parent / "half")
        first.command.kill(signal.SIGSTOP)
        (flow.parent / "go").touch()
        await until_there(flow.parent / "over")
        await found.owner(other=first)
        first.command.kill(signal.SIGCONT)
        assert await submit.wait() == 0, submit.err
        check_flow(submit, flow.parent)
        assert await check_stream(found) == 2


@pytest.mark.parametrize("with_owner", [False, True])
@pytest.mark.timeout(300)
async def test_a_flow_goes_on_when_the_leader_of_its_stream_is_killed(
    with_owner: bool, three_servers: NatsServers, tmp_path: Path
) -> None:
    """Alone, or with the mainframe that was on the same machine."""
    flow = flow_of(tmp_path / "flow")
    async with a_set(three_servers, tmp_path) as found:
        await executing(found, flow.parent)
        owner = await found.owner()
        submit = await found.stack.enter_async_context(start("submit", flow, "--json", *found.reach, state=tmp_path))
        await until_there(flow.parent / "half")
        leader = (await found.status()).streams[0].leader
        three_servers.kill(int(leader.removeprefix("n")))
        if with_owner:
            owner.command.kill(signal.SIGKILL)
            await owner.command.wait()
        (flow.parent / "go").touch()
        assert await submit.wait() == 0, submit.err
        check_flow(submit, flow.parent)
        # A stream into which nothing is written is the last to miss it.
        async with asyncio.timeout(60):
            while not all(each.replicas == 2 and len(each.behind) == 1 for each in (await found.status()).streams):
                continue
        three_servers.start(int(leader.removeprefix("n")))
        async with asyncio.timeout(60):
            while any(each.behind for each in (await found.status()).streams):
                continue
        assert await check_stream(found) >= 1 + with_owner


@pytest.mark.timeout(240)
async def test_a_flow_goes_on_when_its_mainframe_hands_over_or_is_told_to_leave(
    one_server: NatsServers, tmp_path: Path
) -> None:
    flow = flow_of(tmp_path / "flow")
    async with a_set(one_server, tmp_path) as found:
        await executing(found, flow.parent)
        first = await found.owner()
        submit = await found.stack.enter_async_context(start("submit", flow, "--json", *found.reach, state=tmp_path))
        await until_there(flow.parent / "half")
        servers = ",".join(one_server.urls)
        handed = await run("cluster", "hand-over", servers, "--name", found.name, state=tmp_path)
        assert handed.process.returncode == 0, handed.err
        second = await found.owner()
        assert second is not first
        assert f"at {second.url} owns it, in place of" in handed.out[0]
        (flow.parent / "go").touch()
        second.command.kill(signal.SIGTERM)
        assert await second.command.wait() == 0, second.command.err
        assert await found.owner() is first
        assert await submit.wait() == 0, submit.err
        check_flow(submit, flow.parent)
        alone = await run("cluster", "hand-over", servers, "--name", found.name, state=tmp_path)
        assert alone.process.returncode == 2
        assert "no member stands by in set" in alone.err[0]
        examined = await run("doctor", *found.reach, state=tmp_path)
        words = "\n".join(examined.out)
        assert f"BAD  address    {second.url}" in words
        assert "/healthz says ok" in words
        assert "ok   websocket  upgraded" in words


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--name", "nobodys"), "there is no set nobodys in this cluster; make it with 'asyncblock cluster init"),
        (("--partitions", "2"), "has partitions 1, not 2: the number stays as it was"),
        (("--cluster", "http://a"), "is no address of a NATS server"),
        (("--cluster", "nats://127.0.0.1:1"), "no NATS server lets us in at nats://127.0.0.1:1"),
        (("--advertise", "http://a"), "is no mainframe address"),
    ],
)
async def test_what_cant_be_a_member_is_refused(
    one_server: NatsServers, tmp_path: Path, more: tuple[str, ...], words: str
) -> None:
    async with a_set(one_server, tmp_path, members=0) as found:
        given = ("--cluster", ",".join(one_server.urls), "--name", found.name, "--data-dir", str(tmp_path / "d"))
        refused = await run("serve", "--port", "0", *given, *more, state=tmp_path)
        assert refused.process.returncode == 2
        assert words in refused.err[-1]


async def test_who_comes_before_a_member_knows_of_an_owner_is_told_to_try_elsewhere(
    one_server: NatsServers, tmp_path: Path
) -> None:
    """A defect's answer would be the last word for an executor that begins."""
    async with (
        a_set(one_server, tmp_path, members=0) as found,
        FaultProxy("127.0.0.1", urlsplit(one_server.urls[0]).port or 0) as proxy,
    ):
        servers = ClusterServers.read(f"nats://127.0.0.1:{proxy.port}")
        async with ClusterMember(tmp_path / "m", servers, found.name) as member:
            port = free_port()
            proxy.stall()
            listening = member.listen("127.0.0.1", port)
            beginning = asyncio.create_task(listening.__aenter__())
            refused: Exception | None = None
            while not isinstance(refused, StandsBy):
                try:
                    await connect_websocket(f"ws://127.0.0.1:{port}", member.token, max_message=MAX_MESSAGE)
                except ConnectionLost as error:
                    refused = error
            assert "this mainframe has just begun" in str(refused)
            proxy.resume()
            await beginning
            await listening.__aexit__(None, None, None)


async def test_a_directory_with_a_journal_of_its_own_is_no_members(one_server: NatsServers, tmp_path: Path) -> None:
    async with a_set(one_server, tmp_path, members=0) as found:
        async with MainframeServer(tmp_path / "own"):
            pass
        given = ("--cluster", ",".join(one_server.urls), "--name", found.name, "--data-dir", tmp_path / "own")
        refused = await run("serve", "--port", "0", *given, state=tmp_path)
        assert refused.process.returncode == 2
        assert "has a journal of its own, which a member of a set doesn't read" in refused.err[-1]
    missing = await run("serve", "--port", "0", "--name", "s", state=tmp_path)
    assert missing.process.returncode == 2
    assert "needs both: --cluster SERVERS" in " ".join("\n".join(missing.err).replace("│", "").split())
