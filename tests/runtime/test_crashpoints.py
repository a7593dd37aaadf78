"""Items 2 and 3: either side dies by kill -9 at each named point, comes back, and nothing is lost or repeated."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from asyncblock.runtime.crashpoints import EXECUTOR, MAINFRAME
from asyncblock.server.journal.datadir import read_token
from asyncblock.testing import crash_at
from asyncblock.transport.websocket import connect_websocket
from asyncblock.wire.bodies import encode_chunk
from asyncblock.wire.frames import MAX_MESSAGE

from ..flows import handle_def, node, write_flow
from ..peers import Peer
from ..processes import free_port, start
from ..server.sessionstate.test_recovery import COUNT, consumed, counting_flow, numbers


@pytest.mark.parametrize("point", sorted(MAINFRAME))
async def test_a_mainframe_that_dies_at_a_named_point_loses_and_repeats_nothing(point: str, tmp_path: Path) -> None:
    nth = 1 if point == "before_reply" else 7  # the one reply here is that to ``start``
    flow, data, port = counting_flow(tmp_path / "f"), tmp_path / "data", str(free_port())
    serve = ("serve", "--data-dir", data, "--port", port)
    async with start(*serve, state=tmp_path, **crash_at(point, nth)) as first:
        await first.until_line("mainframe at", err=True)
        async with (
            start("executor", "--data-dir", data, "--package", flow.parent, state=tmp_path) as executor,
            start("submit", flow, "--data-dir", data, "--json", state=tmp_path) as submit,
        ):
            assert await first.wait() == -signal.SIGKILL
            async with start(*serve, state=tmp_path):
                assert await submit.wait() == 0, submit.err
                executor.kill(signal.SIGTERM)
                assert await executor.wait() == 0
    found = submit.events()
    assert numbers(found) == list(range(COUNT))
    assert consumed(found) == [10 * i for i in range(COUNT)]
    assert sum(event["type"] == "SessionFinished" for event in found) == 1
    assert (tmp_path / "ran").read_text() == "1"


async def test_what_a_forgotten_link_left_goes_though_the_mainframe_dies_before_it_is_deleted(tmp_path: Path) -> None:
    data, port = tmp_path / "data", free_port()
    serve = ("serve", "--data-dir", data, "--port", str(port))
    async with start(*serve, state=tmp_path, **crash_at("before_deletion")) as first:
        await first.until_line("mainframe at", err=True)
        token = read_token(data)
        assert token is not None
        url = f"ws://127.0.0.1:{port}"
        stays, leaves = [Peer(await connect_websocket(url, token, max_message=MAX_MESSAGE)) for _ in range(2)]
        for peer, link in ((stays, "stays"), (leaves, "leaves")):
            await peer.hello(link, slots=1)
            await peer.transport.send(encode_chunk(1, 0, bytes(1000)))
            await peer.ask("info")
        await leaves.say("bye", code="closed", reason="done", stop=True)
        assert await first.wait() == -signal.SIGKILL
    assert [(path.parent.name, path.stat().st_size) for path in sorted((data / "bodies").glob("*/*"))] == [
        ("leaves", 1000),
        ("stays", 1000),
    ]
    async with start(*serve, state=tmp_path) as second:
        await second.until_line("mainframe at", err=True)
        second.kill(signal.SIGTERM)
        assert await second.wait() == 0
    assert [path.name for path in (data / "bodies").iterdir()] == ["stays"]


SENDS = """
    import os

    async def main(inputs, ctx):
        with open(os.path.join(os.path.dirname(__file__), "..", "ran"), "a") as ran:
            ran.write(str(ctx.attempt))
        for number in range(10):
            await ctx.output([ctx.attempt, number], "out")
        await ctx.flush()
    """

TAKES = "async def main(inputs, ctx):\n    return {'out': inputs['v']}\n"


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize("point", sorted(EXECUTOR))
async def test_an_executor_that_dies_at_a_named_point_leaves_its_job_to_the_policy(
    point: str, retries: int, tmp_path: Path
) -> None:
    """``ran`` has the attempts whose code began: none before its JobStarted is on its way, no finished one twice."""
    directory, data = tmp_path / "f", tmp_path / "data"
    sends = node("sends", SENDS, directory)
    sends["task"]["retries"] = {"retries": retries, "backoff": 0.01}
    nodes = [sends]
    if retries:
        # Without retries its jobs would start and finish in between.
        source = [{"handle": "v", "from_node": [{"node_id": "sends", "output_handle": "out"}]}]
        takes = node("takes", TAKES, directory, inputs=[handle_def("v")], inputs_from=source, concurrency=3)
        # Where the machine is busy, some of its jobs run already when the process dies.
        takes["task"]["retries"] = {"retries": 1, "backoff": 0.01}
        nodes.append(takes)
    flow = write_flow(directory, nodes)
    async with start("serve", "--data-dir", data, "--port", str(free_port()), state=tmp_path) as server:
        await server.until_line("mainframe at", err=True)
        crash = crash_at(point, once=tmp_path / "died")
        async with (
            start("executor", "--data-dir", data, "--package", directory, state=tmp_path, **crash) as executor,
            start("submit", flow, "--data-dir", data, "--json", state=tmp_path) as submit,
        ):
            code = await submit.wait()
            await executor.until_line("killed by SIGKILL", err=True)
    assert (tmp_path / "died").exists()
    found = submit.events()
    ends = [event for event in found if event["type"] == "BlockFinished" and event["node_id"] == "sends"]
    # Until JobStarted is in the journal the job is handed out again, and that is no retry.
    wins = {"before_started": 2, "after_finish": 1, "finish_acked": 1}.get(point, 2 if retries else None)
    assert [event["attempt"] for event in ends] == ([] if wins is None else [wins])
    began = (tmp_path / "ran").read_text() if (tmp_path / "ran").exists() else ""
    assert began == ("1" if point not in ("before_started", "after_started") else "") + ("2" if wins == 2 else "")
    released = [event for event in found if event["type"] == "JobReleased" and event["node_id"] == "sends"]
    assert len(released) == (point == "before_started")
    if wins is None:
        assert code == 1
        assert "killed by SIGKILL" in found[-1]["error"]
    else:
        assert code == 0
        assert outputs_of(found, wins) == list(range(10))
    if retries:
        taken = [e["result"]["out"] for e in found if e["type"] == "BlockFinished" and e["node_id"] == "takes"]
        assert sorted(taken) == [[wins, number] for number in range(10)]


def outputs_of(found: list[dict[str, Any]], attempt: int) -> list[int]:
    return [
        event["output"][1]
        for event in found
        if event["type"] == "BlockOutput" and event["node_id"] == "sends" and event["attempt"] == attempt
    ]


def test_a_crash_point_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="there are after_commit"):
        crash_at("at_noon")
