"""What watchers of the oocana engine hear of our sessions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from asyncblock import events
from asyncblock.report.enginereport import EngineWords

from ..bridge import NEEDS_MOSQUITTO, mosquitto
from ..processes import run, start

STACKS = ({"flow_job_id": "s", "flow": "/f", "node_id": "n"},)
JOB: dict[str, Any] = {"session_id": "s", "t": 5, "job_id": "j", "node_id": "n"}
KEY = {"executor": "asyncblock", "handle": "h", "job_id": "j", "session_id": "s", "attempt": 1, "place": 0}


def told(words: EngineWords, event: events.AnyEvent, **values: Any) -> list[dict[str, Any]]:
    found = words.told(event, values)
    assert orjson.loads(orjson.dumps(found)) == found
    return found


def test_a_session_and_its_flow_begin_and_end_as_theirs() -> None:
    words = EngineWords("s")
    started = told(words, events.SessionStarted(session_id="s", offset=0, t=1, title="t", path="/f"))
    assert started == [
        {"type": "SessionStarted", "session_id": "s", "create_at": 1, "path": "/f", "partial": False, "cache": False},
        {"type": "FlowStarted", "session_id": "s", "job_id": "s", "flow_path": "/f", "stacks": [], "create_at": 1},
    ]
    end = events.SessionFinished(session_id="s", offset=9, t=2, state="failed", error="e", outputs={})
    assert told(words, end) == [
        {
            "type": "FlowFinished",
            "session_id": "s",
            "job_id": "s",
            "flow_path": "/f",
            "stacks": [],
            "error": "e",
            "finish_at": 2,
        },
        {
            "type": "SessionFinished",
            "session_id": "s",
            "path": "/f",
            "finish_at": 2,
            "partial": False,
            "cache": False,
            "error": "e",
        },
    ]
    cancelled = events.SessionFinished(session_id="s", offset=9, t=2, state="cancelled", error=None, outputs={})
    assert told(words, cancelled)[1]["error"] == "the session was cancelled"


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (events.BlockOutput(**JOB, offset=1, handle="h", output=KEY), {"type": "BlockOutput", "handle": "h", "output": {"__OOMOL_TYPE__": "oomol/var", "value": KEY, "serialize_path": None}}),
        (events.BlockOutputs(**JOB, offset=1, outputs={"h": 1}), {"type": "BlockOutputs", "outputs": {"h": 1}}),
        (events.BlockFinished(**JOB, offset=1), {"type": "BlockFinished", "finish_at": 5}),
        (events.BlockFinished(**JOB, offset=1, result={"h": 1}), {"type": "BlockFinished", "finish_at": 5, "result": {"h": 1}}),
        (events.BlockFinished(**JOB, offset=1, error="e", traceback="t"), {"type": "BlockFinished", "finish_at": 5, "error": "t"}),
        (events.BlockFinished(**JOB, offset=1, cancelled=True), {"type": "BlockFinished", "finish_at": 5, "error": "the job was cancelled"}),
        (events.BlockProgress(**JOB, offset=1, rate=7), {"type": "BlockProgress", "progress": 7, "rate": 7}),
        (events.BlockLog(**JOB, offset=1, log="l", stdio="stdout"), {"type": "BlockLog", "log": "l", "stdio": "stdout"}),
        (events.BlockPreview(**JOB, offset=1, payload={"type": "text"}, id="p"), {"type": "BlockPreview", "payload": {"type": "text", "id": "p"}}),
        (events.BlockMessage(**JOB, offset=1, payload=[1]), {"type": "BlockMessage", "payload": [1]}),
        (events.BlockWarning(**JOB, offset=1, warning="w"), {"type": "BlockWarning", "warning": "w"}),
        (events.BlockError(**JOB, offset=1, error="e"), {"type": "BlockError", "error": "e"}),
        (events.JobFailed(**JOB, offset=1, error="e"), {"type": "BlockFinished", "error": "e", "finish_at": 5}),
    ],
    ids=lambda each: each.type if isinstance(each, events.Event) else "",
)  # fmt: skip
def test_what_a_job_says_is_told_with_where_it_stands(event: events.AnyEvent, said: dict[str, Any]) -> None:
    words = EngineWords("s")
    [created] = told(words, events.JobCreated(**JOB, offset=0, stacks=STACKS))
    assert created["type"] == "BlockStarted" and created["create_at"] == 5
    [found] = told(words, event)
    assert found == {"session_id": "s", "job_id": "j", "stacks": [*STACKS], **said}


def test_what_a_subflow_puts_out_is_what_its_jobs_have() -> None:
    words = EngineWords("s")
    told(words, events.BlockOutput(**JOB, offset=3, handle="h", output=1))
    told(words, events.BlockOutput(**JOB, offset=3, handle="h"), h="large")
    whole = {**JOB, "job_id": "flow"}
    found = [
        told(words, events.FlowJobOutput(**whole, offset=3, handle=handle, ref=(3, 0, index, "h")))[0]
        for handle, index in (("x", 0), ("y", 0), ("x", 1))
    ]
    assert [(each["type"], each["handle"], each["output"]) for each in found] == [
        ("SubflowBlockOutput", "x", 1),
        ("SubflowBlockOutput", "y", 1),
        ("SubflowBlockOutput", "x", "large"),
    ]


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    root = tmp_path / "told"
    (root / "flows" / "told").mkdir(parents=True)
    (root / "package.oo.yaml").write_text("name: told\nversion: 0.1.0\n")
    (root / "flows" / "told" / "flow.oo.yaml").write_text(
        "nodes:\n"
        "  - node_id: one\n"
        "    task:\n"
        "      executor: {name: python, options: {entry: main.py}}\n"
        "      outputs_def: [{handle: a}]\n"
    )
    (root / "flows" / "told" / "main.py").write_text(
        "async def main(inputs, ctx):\n"
        "    print('begins')\n"
        "    await ctx.output('x' * 100_000, 'a')\n"
        "    await ctx.preview('shown')\n"
    )
    return root / "flows" / "told" / "flow.oo.yaml"


@NEEDS_MOSQUITTO
async def test_a_run_is_told_while_it_runs_and_to_its_end(flow: Path, tmp_path: Path) -> None:
    from asyncblock.mqtt import Broker

    heard: list[dict[str, Any]] = []
    over = asyncio.Event()

    def take(topic: str, payload: bytes) -> None:
        heard.append(orjson.loads(payload))
        if heard[-1]["type"] == "SessionFinished":
            over.set()

    async with mosquitto(tmp_path) as broker, Broker(f"127.0.0.1:{broker.port}", "watcher", heard=take) as watcher:
        await watcher.subscribe("report")
        command = await run("run", flow, "--report", f"mqtt://127.0.0.1:{broker.port}", state=tmp_path)
        assert (command.process.returncode, [line for line in command.err if "broker" in line]) == (0, [])
        async with asyncio.timeout(20):
            await over.wait()
    kinds = [each["type"] for each in heard]
    assert kinds[:3] == ["SessionStarted", "FlowStarted", "BlockStarted"]
    assert kinds[-2:] == ["FlowFinished", "SessionFinished"] and "error" not in heard[-1]
    assert {"BlockLog", "BlockOutput", "BlockPreview", "BlockFinished"} <= set(kinds)
    assert [each["output"] for each in heard if each["type"] == "BlockOutput"] == ["x" * 100_000]
    assert {each["stacks"][-1]["node_id"] for each in heard if each["type"].startswith("Block")} == {"one"}


@NEEDS_MOSQUITTO
async def test_a_run_goes_on_without_its_broker(flow: Path, tmp_path: Path) -> None:
    (flow.parent / "main.py").write_text(
        "import asyncio\n\n\nasync def main(inputs, ctx):\n"
        "    server = await asyncio.start_unix_server(lambda _, it: (it.close(), done.set()), inputs['path'])\n"
        "    done = asyncio.Event()\n"
        "    print('socket-is-open')\n"
        "    async with server:\n"
        "        await done.wait()\n"
    )
    path = tmp_path / "go"
    flow.write_text(
        flow.read_text().replace("outputs_def: [{handle: a}]", f"inputs_def: [{{handle: path, value: {path}}}]")
    )
    async with mosquitto(tmp_path) as broker:
        address = f"mqtt://127.0.0.1:{broker.port}"
        async with start("run", flow, "--report", address, state=tmp_path) as command:
            await command.until_line("socket-is-open")
            await broker.stop()
            _, writer = await asyncio.open_unix_connection(str(path))
            writer.close()
            assert await command.wait() == 0
            assert [line for line in command.err if "hasn't taken all of the report" in line]


async def test_without_the_broker_nothing_is_run(flow: Path, tmp_path: Path) -> None:
    command = await run("run", flow, "--report", "mqtt://127.0.0.1:1", state=tmp_path)
    assert command.process.returncode == 2
    assert "no MQTT broker can be reached at 127.0.0.1:1: Connection refused" in command.err[-1]
    assert not [line for line in command.out if "session" in line]
