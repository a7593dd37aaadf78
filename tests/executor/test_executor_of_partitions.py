"""An executor of a set with several partitions: one process with a link to each, whoever owns them."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import asyncblock
from asyncblock.client import Session
from asyncblock.wire.placement import partition_of

from ..flows import node, write_flow
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


@pytest.mark.timeout(300)
async def test_an_executor_runs_the_jobs_of_all_partitions(nats: NatsServers, tmp_path: Path) -> None:
    flow = flow_of(tmp_path / "flow")
    async with a_set(nats, tmp_path, partitions=PARTITIONS) as found:
        await found.spread(*found.members)
        _, url, _, token = found.reach
        async with (
            start("executor", *found.reach, "--package", flow.parent, state=tmp_path) as executor,
            asyncblock.connect(url, token) as mainframe,
        ):
            await executor.until_line("executor for", err=True)

            async def run_in_each() -> None:
                sessions: list[Session] = []
                counts = Counter(dict.fromkeys(range(PARTITIONS), 0))
                while min(counts.values()) < 2:
                    sessions.append(await mainframe.start(flow, {"n": len(sessions)}))
                    counts[partition_of(sessions[-1].session_id, PARTITIONS)] += 1
                for number, session in enumerate(sessions):
                    assert await session.outputs() == {"out": [LARGE + len(str(number)), True]}

            await run_in_each()
            # It is one executor, whatever partition is asked.
            [row] = [each for each in await mainframe.executors() if not each["once"]]
            assert row["connected"]

            found.members[0].command.kill(signal.SIGKILL)
            async with asyncio.timeout(200):
                await run_in_each()
            await mainframe.drain(row["link"])
            executor.kill(signal.SIGTERM)
            assert await executor.wait() == 0, executor.err
