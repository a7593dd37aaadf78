"""Many runs by one command: ``submit --matrix`` and ``--inputs-file``, their group in lists, and one cancel for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import orjson
import pytest
import typer

from asyncblock.cli.manyruns import parse_matrix, parse_rows

from ..flow.packages import block, write
from ..processes import free_port, run, start

pytestmark = pytest.mark.timeout(120)

SOURCE = """
import asyncio

begun, all_there = [], asyncio.Event()

async def main(inputs, ctx):
    begun.append(ctx)
    if len(begun) >= inputs["meet"]:
        all_there.set()
    await all_there.wait()
    await asyncio.sleep(inputs["pause"])
    if inputs["a"] == 13:
        raise ValueError("thirteen")
    return {"y": f"{inputs['a']}{inputs['b']}"}
"""


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[Path]:
    """Serve a mainframe with an executor; yield the path of a flow of one block."""
    path = block(tmp_path / "pkg", "join", "a b=x pause=0 meet=0", "y", SOURCE)
    async with AsyncExitStack() as stack:
        port = str(free_port())
        mainframe = await stack.enter_async_context(start("serve", "--port", port, state=tmp_path))
        await mainframe.until_line("mainframe at", err=True)
        executor = await stack.enter_async_context(start("executor", "--package", tmp_path / "pkg", state=tmp_path))
        await executor.until_line("executor for", err=True)
        yield path


async def test_every_combination_of_a_matrix_runs_sixteen_at_once(tmp_path: Path) -> None:
    """None of them returns before sixteen have begun: one after the other, or fifteen at once, they would never end."""
    async with served(tmp_path) as path:
        how = ("submit", path, "--matrix", "a=1,2,3,4,5", "--matrix", "b=x,y,z,w", "--input", "meet=16", "--json")
        done = await run(*how, state=tmp_path)
        assert done.process.returncode == 0, done.err
        *results, end = done.events()
        assert sorted(each["outputs"]["y"] for each in results) == sorted(
            f"{a}{b}" for a in range(1, 6) for b in "xyzw"
        )
        assert all(each["outputs"]["y"] == f"{each['inputs']['a']}{each['inputs']['b']}" for each in results)
        assert end["states"] == {"succeeded": 20}

        listed = await run("sessions", state=tmp_path)
        [line] = listed.out
        assert line.startswith(end["group"])
        assert "20 succeeded" in line
        members = await run("sessions", "--group", end["group"], state=tmp_path)
        assert len(members.out) == 20
        each = [orjson.loads(line) for line in (await run("sessions", "--json", state=tmp_path)).out]
        assert {row["group"] for row in each} == {end["group"]}
        outputs = orjson.loads("\n".join((await run("outputs", end["group"], state=tmp_path)).out))
        assert [row["outputs"]["y"] for row in outputs] == [row["outputs"]["y"] for row in sorted_by_index(results)]


def sorted_by_index(results: list[dict[str, object]]) -> list[dict[str, dict[str, object]]]:
    return sorted(results, key=lambda each: each["index"])  # type: ignore[arg-type,return-value]  # they are JSON


async def test_lines_of_a_file_run_and_what_fails_is_told(tmp_path: Path) -> None:
    async with served(tmp_path) as path:
        rows = write(tmp_path / "rows.jsonl", '{"a": 12}\n{"a": 13}\n\n{"a": 14, "b": "y"}\n')
        done = await run("submit", path, "--inputs-file", rows, "--input", "b=z", state=tmp_path)
        assert done.process.returncode == 1
        assert "[1/3] a=12: succeeded: y = 12z" in done.out
        assert "[2/3] a=13: failed: node join: ValueError: thirteen" in done.out
        assert "[3/3] a=14 b=y: succeeded: y = 14y" in done.out
        assert "2 succeeded" in done.out[-1]
        assert "1 failed" in done.out[-1]


async def test_a_group_is_started_and_left_and_cancelled_as_one(tmp_path: Path) -> None:
    async with served(tmp_path) as path:
        how = ("submit", path, "--matrix", "a=1,2,3", "--input", "pause=600", "--detach", "--json")
        done = await run(*how, state=tmp_path)
        assert done.process.returncode == 0, done.err
        [group] = {each["group"] for each in done.events()}
        shown = await run("show", group, state=tmp_path)
        assert (shown.process.returncode, "is a group of sessions" in shown.err[0]) == (2, True)
        cancelled = await run("cancel", group, state=tmp_path)
        assert cancelled.out == [f"3 sessions of group {group} are being cancelled"]
        unknown = await run("cancel", "m000000000", state=tmp_path)
        assert (unknown.process.returncode, "no sessions of a group 'm000000000'" in unknown.err[0]) == (2, True)
        outputs = await run("outputs", group, state=tmp_path)
        assert outputs.process.returncode == 1
        assert {each["state"] for each in orjson.loads("\n".join(outputs.out))} == {"cancelled"}
        again = await run("cancel", group, state=tmp_path)
        assert (again.process.returncode, again.out) == (0, [])
        assert again.err == [f"all sessions of group {group} have ended already: 3 cancelled"]


async def test_an_interrupt_cancels_all_of_them(tmp_path: Path) -> None:
    import signal

    async with served(tmp_path) as path:
        how = ("submit", path, "--matrix", "a=1,2,3,4", "--input", "pause=600", "--limit", "2")
        async with start(*how, state=tmp_path) as command:
            await command.until_line("4 runs, 2 at once", err=True)
            async with asyncio.timeout(60):
                while len((await run("sessions", "--json", state=tmp_path)).out) < 2:
                    pass
            command.kill(signal.SIGINT)
            assert await command.wait() == 130
            assert "2 cancelled, 2 not started" in command.out[-1]


async def test_a_cancel_of_the_group_reaches_what_its_command_has_not_begun(tmp_path: Path) -> None:
    async with served(tmp_path) as path:
        how = ("submit", path, "--matrix", "a=1,2,3,4,5,6", "--input", "pause=600", "--limit", "2")
        async with start(*how, state=tmp_path) as command:
            line = await command.until_line("6 runs, 2 at once", err=True)
            group = line.split()[1].rstrip(":")
            async with asyncio.timeout(60):
                while "2 running" not in (await run("sessions", state=tmp_path)).out[-1:][0]:
                    pass
            cancelled = await run("cancel", group, state=tmp_path)
            assert cancelled.out == [f"2 sessions of group {group} are being cancelled"]
            assert await command.wait() == 1
            assert "not started" in command.out[-1]


async def test_a_list_tells_of_the_whole_group_where_only_some_of_it_is_asked_for(tmp_path: Path) -> None:
    async with served(tmp_path) as path:
        done = await run("submit", path, "--matrix", "a=12,13,14", "--json", state=tmp_path)
        group = done.events()[-1]["group"]
        for more in (("--state", "failed"), ("--limit", "1"), ()):
            [line] = (await run("sessions", *more, state=tmp_path)).out
            assert line.split()[0] == group
            assert "failed" in line and "(1 failed, 2 succeeded): node join: ValueError: thirteen" in line


def test_a_matrix_is_read() -> None:
    assert parse_matrix(["a=1,x", "b=true"]) == [{"a": 1, "b": True}, {"a": "x", "b": True}]
    assert parse_matrix(['a=[[1,2],{"k":3}]']) == [{"a": [1, 2]}, {"a": {"k": 3}}]
    assert parse_matrix(["a="]) == [{"a": ""}]


@pytest.mark.parametrize("given", [["a"], ["=1"], ["a=1", "a=2"], [f"{name}={'1,' * 60}1" for name in "abc"]])
def test_a_matrix_that_cannot_be_meant_is_refused(given: list[str]) -> None:
    with pytest.raises(typer.BadParameter):
        parse_matrix(given)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "holds no inputs"), ("{}\n[1]\n", "rows.jsonl:2: a line is an object"), ("{}\n{a}\n", "rows.jsonl:2: this")],
)
def test_a_file_that_holds_no_sets_of_inputs_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(typer.BadParameter, match=words):
        parse_rows(path)


async def test_what_many_runs_will_wait_for_in_vain_is_said_before(tmp_path: Path) -> None:
    path = block(tmp_path / "pkg", "join", "a b=x pause=0 meet=0", "y", SOURCE)
    async with start("serve", "--port", "0", state=tmp_path) as server:
        await server.until_line("mainframe at", err=True)
        done = await run("submit", path, "--matrix", "a=1,2", "--detach", state=tmp_path)
    assert "no executor is connected" in done.err[0]
