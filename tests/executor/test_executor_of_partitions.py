"""An executor of a set with several partitions: one process with a link to each, whoever owns them."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import asyncblock
from asyncblock import events
from asyncblock.client import Mainframe, Session
from asyncblock.wire.placement import partition_of

from ..flows import handle_def, node, until, write_flow
from ..processes import start
from ..server.cluster.sets import a_set
from ..server.jetstream.servers import NatsServers, nats_servers

PARTITIONS = 2
LARGE = 300_000

# A large value, which goes as a body; a block in a thread, and one in a process of its own.
MAKES = f"""
    async def main(inputs, ctx):
        await ctx.output("x" * {LARGE} + str(inputs["n"]), "text")
"""
COUNTS = """
    def main(inputs, ctx):
        ctx.output(len(inputs["text"]), "length")
"""
ALONE = """
    import os

    async def main(inputs, ctx):
        await ctx.output([inputs["length"], os.getpid() != os.getppid()], "out")
"""


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServers]:
    with nats_servers(tmp_path_factory.mktemp("nats")) as servers:
        yield servers


def flow_of(directory: Path) -> Path:
    makes = node(
        "makes",
        MAKES,
        directory,
        inputs=[{"handle": "n"}],
        outputs=["text"],
        inputs_from=[{"handle": "n", "from_flow": [{"input_handle": "n"}]}],
    )
    counts = node(
        "counts",
        COUNTS,
        directory,
        inputs=[{"handle": "text"}],
        outputs=["length"],
        inputs_from=[{"handle": "text", "from_node": [{"node_id": "makes", "output_handle": "text"}]}],
    )
    alone = node(
        "alone",
        ALONE,
        directory,
        inputs=[{"handle": "length"}],
        inputs_from=[{"handle": "length", "from_node": [{"node_id": "counts", "output_handle": "length"}]}],
    )
    alone["task"]["executor"]["options"]["spawn"] = True
    outputs = [{"handle": "out", "from_node": [{"node_id": "alone", "output_handle": "out"}]}]
    return write_flow(directory, [makes, counts, alone], inputs_def=[{"handle": "n"}], outputs_from=outputs)


# An object that stays in the memory of the process while its mainframe is killed.
KEEPS = """
    async def main(inputs, ctx):
        with open(f"{inputs['directory']}/runs", "a") as runs:
            runs.write("run\\n")
        await ctx.output({"kept": inputs["n"]}, "value")
"""
WAITS = """
    import asyncio, os

    async def main(inputs, ctx):
        while not os.path.exists(f"{inputs['directory']}/go"):
            await asyncio.sleep(0.02)
        await ctx.output(True, "gone")
"""
USES = """
    async def main(inputs, ctx):
        await ctx.output(inputs["value"]["kept"], "out")
"""


def waiting_flow(directory: Path) -> Path:
    where = {"handle": "directory", "value": str(directory)}
    keeps = node(
        "keeps",
        KEEPS,
        directory,
        inputs=[{"handle": "n"}, {"handle": "directory"}],
        outputs=[handle_def("value", "oomol/var")],
        inputs_from=[{"handle": "n", "from_flow": [{"input_handle": "n"}]}, where],
    )
    waits = node("waits", WAITS, directory, inputs=[{"handle": "directory"}], outputs=["gone"], inputs_from=[where])
    uses = node(
        "uses",
        USES,
        directory,
        inputs=[handle_def("value", "oomol/var"), {"handle": "gone"}],
        inputs_from=[
            {"handle": "value", "from_node": [{"node_id": "keeps", "output_handle": "value"}]},
            {"handle": "gone", "from_node": [{"node_id": "waits", "output_handle": "gone"}]},
        ],
    )
    outputs = [{"handle": "out", "from_node": [{"node_id": "uses", "output_handle": "out"}]}]
    return write_flow(directory, [keeps, waits, uses], inputs_def=[{"handle": "n"}], outputs_from=outputs)


async def start_in_each(mainframe: Mainframe, flow: Path) -> list[Session]:
    """Start sessions until each partition has two of them; the input ``n`` of each is its place."""
    sessions: list[Session] = []
    counts = Counter(dict.fromkeys(range(PARTITIONS), 0))
    while min(counts.values()) < 2:
        sessions.append(await mainframe.start(flow, {"n": len(sessions)}))
        counts[partition_of(sessions[-1].session_id, PARTITIONS)] += 1
    return sessions


async def check_all(mainframe: Mainframe, flow: Path) -> None:
    """Run the flow in each partition; its outputs are right."""
    for number, session in enumerate(await start_in_each(mainframe, flow)):
        assert await session.outputs() == {"out": [LARGE + len(str(number)), True]}


@pytest.mark.timeout(300)
async def test_an_executor_runs_the_jobs_of_all_partitions(nats: NatsServers, tmp_path: Path) -> None:
    flow, waiting = flow_of(tmp_path / "flow"), waiting_flow(tmp_path / "waiting")
    async with a_set(nats, tmp_path, partitions=PARTITIONS) as found:
        await found.spread(*found.members)
        _, url, _, token = found.reach
        packages = ("--package", flow.parent, "--package", waiting.parent)
        async with (
            start("executor", *found.reach, *packages, state=tmp_path) as executor,
            asyncblock.connect(url, token) as mainframe,
        ):
            await executor.until_line("executor for", err=True)
            await check_all(mainframe, flow)
            # It is one executor, whatever partition is asked.
            [row] = [each for each in await mainframe.executors() if not each["once"]]
            assert row["connected"]

            # The memory of the process has values of both partitions when the owner of one of them is killed.
            sessions = await start_in_each(mainframe, waiting)
            for session in sessions:
                await until(session, events.BlockFinished, lambda event: event.node_id == "keeps")
            found.members[0].command.kill(signal.SIGKILL)
            await check_all(mainframe, flow)
            (waiting.parent / "go").touch()
            assert [await session.outputs() for session in sessions] == [{"out": n} for n in range(len(sessions))]
            assert (waiting.parent / "runs").read_text() == "run\n" * len(sessions)

            await mainframe.drain(row["link"])
            executor.kill(signal.SIGTERM)
            assert await executor.wait() == 0, executor.err
