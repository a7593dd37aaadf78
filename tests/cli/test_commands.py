"""``asyncblock run``: what it prints, with which code it ends, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import orjson
import pytest

import asyncblock
from asyncblock import events
from asyncblock.server.journal.peek import peek_sessions

from ..flows import handle_def, node, one_block, write_flow
from ..processes import all_ended, run, start

WAITS = """
import asyncio

async def main(inputs, ctx):
    print("holds on")
    try:
        await asyncio.Event().wait()
    finally:
        await ctx.report_log("cleaned up")
"""

STUBBORN = """
import asyncio

async def main(inputs, ctx):
    print("holds on")
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            print("not now")
"""


def echo_flow(directory: Path) -> Path:
    """A flow that gives back its input ``given`` and the type that it has in Python."""
    source = "def main(inputs, ctx):\n    return {'value': inputs['v'], 'type': type(inputs['v']).__name__}\n"
    echo = node(
        "echo",
        source,
        directory,
        inputs=[handle_def("v")],
        outputs=["value", "type"],
        inputs_from=[{"handle": "v", "from_flow": [{"input_handle": "given"}]}],
    )
    outputs = [{"handle": h, "from_node": [{"node_id": "echo", "output_handle": h}]} for h in ("value", "type")]
    return write_flow(directory, [echo], inputs_def=[handle_def("given")], outputs_from=outputs)


async def test_plain_lines_tell_what_a_person_wants_to_know(tmp_path: Path) -> None:
    command = await run("run", "stocks", state=tmp_path)
    assert command.process.returncode == 0
    assert command.err == []
    text = "\n".join(command.out)
    assert command.out[0].startswith("session ")
    assert command.out[0].endswith(": stocks")
    for words in (
        "load: started",
        "load: preview: table, 524 rows, 11 columns",
        "clean: kept 391 of 524 months",
        "chart: preview 'chart': ",
        "summary: finished",
        "session succeeded, 1 output\n  summary:\n    rows: 391\n",
    ):
        assert words in text
    assert "\x1b" not in text


async def test_json_prints_one_event_a_line_and_ends_with_outputs_and_error(tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = await run("run", "stocks", "--json", "--data-dir", data, state=tmp_path)
    assert command.process.returncode == 0
    found = command.events()
    end = found[-1]
    assert (end["type"], end["state"], end["error"]) == ("SessionFinished", "succeeded", None)
    assert len(end["outputs"]["summary"]["tickers"]) == 10
    assert [event["type"] for event in found].count("SessionFinished") == 1
    [row] = peek_sessions(data)
    assert (row.session_id, row.state) == (end["session_id"], "succeeded")


async def test_the_journal_of_a_run_holds_a_table_and_a_png(tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = await run("run", "stocks", "--json", "--data-dir", data, state=tmp_path)
    async with asyncblock.embedded(data) as mainframe:
        session = mainframe.session(command.events()[-1]["session_id"])
        previews = [event async for event in session if isinstance(event, events.BlockPreview)]
        payloads = [e.payload if e.body is None else await session.fetch(e.body) for e in previews]
    kinds = {payload["type"] for payload in payloads}
    assert kinds == {"table", "image"}
    [image] = [payload for payload in payloads if payload["type"] == "image"]
    assert image["data"].startswith("data:image/png;base64,iVBOR")


@pytest.mark.parametrize(
    ("given", "value", "kind"),
    [("given=7", 7, "int"), ("given=[1, null]", [1, None], "list"), ("given=a=b", "a=b", "str"), ("given=", "", "str")],
)
async def test_inputs_are_json_or_else_text(tmp_path: Path, given: str, value: object, kind: str) -> None:
    command = await run("run", echo_flow(tmp_path / "f"), "-i", "given=0", "--input", given, "--json", state=tmp_path)
    assert command.events()[-1]["outputs"] == {"value": value, "type": kind}


async def test_stocks_takes_the_users_own_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("day,A,B\n2020-01-01,1,10\n2020-02-01,2,\n2020-03-01,1.5,9\n2020-04-01,3,12\n")
    command = await run("run", "stocks", "--input", f"path={mine}", "--json", state=tmp_path)
    assert set(command.events()[-1]["outputs"]["summary"]["tickers"]) == {"A", "B"}


async def test_what_the_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", "async def main(inputs, ctx):\n    print('caf\u00e9 \u2713')\n")
    command = await run("run", path, state=tmp_path, PYTHONIOENCODING="ascii")
    assert command.process.returncode == 0
    assert "n: caf\\xe9 \\u2713" in command.out


async def test_a_failed_flow_leaves_with_1_and_the_authors_frames(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", "def main(inputs, ctx):\n    raise ValueError('no luck')\n")
    plain = await run("run", path, state=tmp_path)
    assert plain.process.returncode == 1
    text = "\n".join(plain.out)
    assert "n: failed: ValueError: no luck" in text
    assert f'File "{path.parent / "n.py"}", line 2, in main' in text
    assert plain.out[-1].startswith("session failed: ")
    assert "asyncblock/" not in text
    json = await run("run", path, "--json", state=tmp_path)
    assert json.process.returncode == 1
    assert "no luck" in json.events()[-1]["error"]


async def test_in_process_runs_blocks_in_the_commands_own_process(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", "import os\nasync def main(inputs, ctx):\n    return {'out': os.getpid()}\n")
    inside = await run("run", path, "--in-process", "--json", state=tmp_path)
    assert inside.events()[-1]["outputs"] == {"out": inside.process.pid}
    outside = await run("run", path, "--json", state=tmp_path)
    assert outside.events()[-1]["outputs"]["out"] != outside.process.pid


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="collects more rarely by itself")
async def test_the_collector_comes_less_often_in_a_commands_own_process(tmp_path: Path) -> None:
    source = "import gc\nasync def main(inputs, ctx):\n    return {'out': list(gc.get_threshold())}\n"
    inside = await run("run", one_block(tmp_path / "f", source), "--in-process", "--json", state=tmp_path)
    assert inside.events()[-1]["outputs"] == {"out": [5000, 2, 10]}


async def test_workers_are_processes_that_share_the_jobs(tmp_path: Path) -> None:
    """Each block waits for the other's file: only two at once get through, and each job needs a process of its own."""
    source = """
    import asyncio, os, pathlib

    async def main(inputs, ctx):
        here = pathlib.Path(__file__).parent
        (here / f"{ctx.node_id}.pid").write_text(str(os.getpid()))
        while len(list(here.glob("*.pid"))) < 2:
            await asyncio.sleep(0.01)
        return {"out": os.getpid()}
    """
    nodes = [node(name, source, tmp_path / "f") for name in ("a", "b")]
    outputs = [{"handle": n, "from_node": [{"node_id": n, "output_handle": "out"}]} for n in ("a", "b")]
    path = write_flow(tmp_path / "f", nodes, outputs_from=outputs)
    command = await run("run", path, "--workers", "2", "--json", state=tmp_path)
    found = command.events()[-1]["outputs"]
    assert len({found["a"], found["b"], command.process.pid}) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", [(), ("--in-process",)])
async def test_an_interrupt_cancels_lets_blocks_clean_up_and_leaves_with_130(
    tmp_path: Path, number: signal.Signals, where: tuple[str, ...]
) -> None:
    path = one_block(tmp_path / "f", WAITS)
    async with start("run", path, *where, state=tmp_path) as command:
        await command.until_line("n: holds on" if not where else "n: started")
        command.kill(number)
        assert await command.wait() == 130
    assert command.family() == []
    text = "\n".join(command.out)
    assert "n: cleaned up" in text
    assert "n: cancelled" in text
    assert "session cancelled: interrupted" in text
    assert "Traceback" not in "\n".join(command.err)


async def test_a_second_interrupt_leaves_at_once(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", STUBBORN)
    async with start("run", path, state=tmp_path) as command:
        await command.until_line("n: holds on")
        command.kill(signal.SIGINT)
        await command.until_line("not now")
        command.kill(signal.SIGINT)
        async with asyncio.timeout(3):
            assert await command.wait() == 130
        await all_ended(command.family())
        assert command.family() == []


async def test_an_interrupt_before_the_session_starts_leaves_with_130(tmp_path: Path) -> None:
    """The mainframe that it submits to accepts the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        async with start("submit", "stocks", "--url", url, state=tmp_path) as command:
            await command.until_signals_are_handled()
            command.kill(signal.SIGINT)
            async with asyncio.timeout(3):
                assert await command.wait() == 130
    assert command.err == []


@pytest.mark.parametrize("form", [(), ("--json",), ("--in-process",)])
async def test_a_reader_that_leaves_ends_the_run_quietly(tmp_path: Path, form: tuple[str, ...]) -> None:
    path = one_block(
        tmp_path / "f",
        """
        import asyncio

        async def main(inputs, ctx):
            while True:
                await ctx.report_log("tick")
                await asyncio.sleep(0.01)
        """,
    )
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "asyncblock", "run", str(path), *form),
        stdout=writing,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path), "PYTHONPATH": os.getcwd()},
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as out:
        await asyncio.to_thread(out.readline)
    _, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, err) == (141, b"")


async def test_examples_are_listed_for_people_and_for_programs(tmp_path: Path) -> None:
    plain = await run("examples", state=tmp_path)
    assert any(line.startswith("stocks  ") for line in plain.out)
    json = await run("examples", "--json", state=tmp_path)
    [line] = json.out
    found = {each["name"]: each["about"] for each in orjson.loads(line)}
    assert "stocks" in found
    assert all(found.values())


@pytest.mark.parametrize("missing", ["typer", "rich"])
async def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from asyncblock.cli import main; main()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, "sessions", stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    words = f"the commands need {missing}: pip install 'asyncblock[cli]'\n"
    assert (process.returncode, err.decode()) == (2, words)


async def test_version_and_help(tmp_path: Path) -> None:
    assert (await run("--version", state=tmp_path)).out == [f"asyncblock {asyncblock.__version__}"]
    everything = await run("--help", state=tmp_path, COLUMNS="200")
    assert everything.process.returncode == 0
    text = "\n".join(everything.out)
    for words in ("ASYNCBLOCK_URL", "ASYNCBLOCK_TOKEN", "ASYNCBLOCK_DATA_DIR", "Exit codes: 0 success, 1 the flow"):
        assert words in text


async def test_the_help_of_each_command_says_what_it_does_and_how_it_ends(tmp_path: Path) -> None:
    names = ("run", "resume", "serve", "executor", "submit", "watch", "sessions", "doctor", "examples")
    said = await asyncio.gather(*(run(name, "--help", state=tmp_path, COLUMNS="200") for name in names))
    for name, command in zip(names, said, strict=True):
        text = "\n".join(command.out)
        assert command.process.returncode == 0
        assert "--json" in text or name in ("serve", "executor")
    texts = {name: "\n".join(command.out) for name, command in zip(names, said, strict=True)}
    assert "130 interrupted" in texts["run"]
    assert "7788" in texts["serve"]
    for name in ("executor", "submit", "watch", "sessions", "doctor"):
        for words in ("ASYNCBLOCK_URL", "ASYNCBLOCK_TOKEN", "ASYNCBLOCK_TLS_CA", "--data-dir"):
            assert words in texts[name], name


async def test_the_last_runs_are_kept_and_those_in_use_too(tmp_path: Path) -> None:
    runs = tmp_path / "asyncblock" / "runs"
    for number in range(30):
        (runs / f"20200101-000000-{number:06}").mkdir(parents=True)
    path = one_block(tmp_path / "f", WAITS)
    async with start("run", path, "--data-dir", runs / "20200101-000000-000000", state=tmp_path) as running:
        await running.until_line("n: holds on")
        quick = one_block(tmp_path / "g", "def main(inputs, ctx): ...\n")
        await run("run", quick, state=tmp_path)
        left = sorted(path.name for path in runs.iterdir())
        assert "20200101-000000-000000" in left
        assert "20200101-000000-000001" not in left
        assert len(left) == 21
        running.kill(signal.SIGINT)
        await running.wait()
