"""Shell tasks, run for real by an embedded executor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import events

from ..flows import all_of, end_of, run_flow, started, until, write_flow


def shell(node_id: str, command: Any, **fields: Any) -> dict[str, Any]:
    given = [{"handle": "command", "value": command}]
    given += [{"handle": name, "value": fields.pop(name)} for name in ("cwd", "envs") if name in fields]
    return {"node_id": node_id, "task": {"executor": {"name": "shell"}}, "inputs_from": given, **fields}


def shell_flow(directory: Path, command: Any, **fields: Any) -> Path:
    outputs = [
        {"handle": name, "from_node": [{"node_id": "n", "output_handle": name}]} for name in ("stdout", "stderr")
    ]
    return write_flow(directory, [shell("n", command, **fields)], outputs_from=outputs)


async def outputs(path: Path) -> dict[str, Any]:
    async with started(path) as session:
        return await session.outputs()


async def test_a_command_puts_out_what_it_wrote(tmp_path: Path) -> None:
    found = await outputs(shell_flow(tmp_path, "echo out; echo err >&2"))
    assert found == {"stdout": "out", "stderr": "err"}


async def test_exactly_one_final_newline_is_cut(tmp_path: Path) -> None:
    found = await outputs(shell_flow(tmp_path, "printf ' a\\n\\n'; printf 'no newline' >&2"))
    assert found == {"stdout": " a\n", "stderr": "no newline"}


async def test_lines_are_logged_as_they_come(tmp_path: Path) -> None:
    found = await run_flow(shell_flow(tmp_path, "echo one; echo two >&2"))
    logged = {(event.log, event.stdio) for event in all_of(found, events.BlockLog)}
    assert logged == {("one", "stdout"), ("two", "stderr")}


@pytest.mark.parametrize(
    "envs", [{"COLOUR": "red"}, ["COLOUR=red"], "OTHER=x=y, COLOUR=red,nothing"], ids=["mapping", "list", "text"]
)
async def test_directory_and_environment_are_the_inputs_own(tmp_path: Path, envs: Any) -> None:
    (tmp_path / "there").mkdir()
    path = shell_flow(tmp_path, 'pwd; echo "$COLOUR"; echo "$HOME"', cwd=str(tmp_path / "there"), envs=envs)
    assert (await outputs(path))["stdout"].splitlines() == [str(tmp_path / "there"), "red", os.environ["HOME"]]


async def test_a_command_runs_beside_its_file_and_cwd_is_seen_from_there(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    where = shell_flow(tmp_path, 'pwd; echo "$OOCANA_SESSION_ID" "$OOCANA_JOB_ID"')
    async with started(where) as session:
        place, ids = (await session.outputs())["stdout"].splitlines()
        assert (place, len(ids.split())) == (str(tmp_path), 2)
        assert ids.split()[0] == session.session_id
    assert (await outputs(shell_flow(tmp_path, "pwd", cwd="there")))["stdout"] == str(tmp_path / "there")


@pytest.mark.parametrize(
    ("command", "fields", "words"),
    [
        ("echo no >&2; exit 3", {}, "the command exited with 3: no"),
        ("kill -9 $$", {}, "was ended by SIGKILL"),
        ("true", {"cwd": "/none"}, "the directory '/none' (input 'cwd') isn't there"),
        ("true", {"cwd": "none"}, "/none' (input 'cwd') isn't there"),
        ("true", {"cwd": 5}, "the input 'cwd' is a text, not int"),
        (5, {}, "the input 'command' is a text, not int"),
        ("true", {"envs": 5}, "'envs' is a mapping"),
    ],
)
async def test_a_command_that_fails_fails_its_node_with_the_reason(
    tmp_path: Path, command: Any, fields: dict[str, Any], words: str
) -> None:
    end = end_of(await run_flow(shell_flow(tmp_path, command, **fields)))
    assert end.state == "failed"
    assert words in str(end.error)


async def test_a_timeout_ends_a_command_and_what_it_started(tmp_path: Path) -> None:
    command = f"sleep 600 & echo $! > {tmp_path / 'pid'}; wait"
    end = end_of(await run_flow(shell_flow(tmp_path, command, timeout=1.0)))
    assert "Timeout" in str(end.error)
    assert_gone(int((tmp_path / "pid").read_text()))


async def test_a_cancel_ends_a_command_and_what_it_started(tmp_path: Path) -> None:
    command = "sleep 600 & echo $!; wait"
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(shell_flow(tmp_path, command))
        pid = int((await until(session, events.BlockLog)).log)
        await session.cancel("enough")
        assert (await session.wait()).state == "cancelled"
    assert_gone(pid)


def assert_gone(pid: int) -> None:
    """The process is no more, or a zombie that nobody has waited for."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return
    assert state == "Z"


async def test_shell_tasks_feed_each_other(tmp_path: Path) -> None:
    second = shell("b", None)
    second["inputs_from"] = [{"handle": "command", "from_node": [{"node_id": "a", "output_handle": "stdout"}]}]
    path = write_flow(
        tmp_path,
        [shell("a", "echo echo twice"), second],
        outputs_from=[{"handle": "o", "from_node": [{"node_id": "b", "output_handle": "stdout"}]}],
    )
    assert await outputs(path) == {"o": "twice"}
