"""``--log-format json``: everything that serve and executor say of themselves is a JSON object a line."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack
from pathlib import Path

import orjson

from ..flows import one_block
from ..processes import free_port, run, start


async def test_serve_and_executor_say_all_they_say_as_json_lines(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", "async def main(inputs, ctx):\n    return {'out': 1}\n")
    async with AsyncExitStack() as stack:
        port = free_port()
        arguments = ("serve", "--port", str(port), "--log-format", "json")
        server = await stack.enter_async_context(start(*arguments, state=tmp_path))
        await server.until_line(f"mainframe at ws://127.0.0.1:{port}", err=True)
        arguments = ("executor", "--package", str(path.parent), "--log-format", "json")
        executor = await stack.enter_async_context(start(*arguments, state=tmp_path))
        await executor.until_line("executor for ws://", err=True)
        assert (await run("submit", path, state=tmp_path)).process.returncode == 0
        executor.kill(signal.SIGTERM)
        assert await executor.wait() == 0
        server.kill(signal.SIGTERM)
        await server.wait()
    for command in (server, executor):
        lines = [orjson.loads(line) for line in command.err]
        assert all({"timestamp", "level", "logger", "event"} <= line.keys() for line in lines)
        assert command.out == []
    events = [orjson.loads(line)["event"] for line in executor.err]
    assert any("leaving: running jobs have" in event for event in events)


async def test_a_mistake_is_a_json_line_too(tmp_path: Path) -> None:
    done = await run("executor", "--url", "ws://127.0.0.1:1", "--token", "t", "--log-format", "json", state=tmp_path)
    assert done.process.returncode == 2
    [line] = [orjson.loads(each) for each in done.err]
    assert line["level"] == "error"
    assert "127.0.0.1:1" in line["event"]
