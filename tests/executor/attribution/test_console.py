"""What a block finds where a terminal would be, in a process of the executor's."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncblock import events

from ...flows import all_of, end_of, run_block

INDENT = "            "


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    ("body", "out"),
    [
        ("import sys; return {'out': sys.stdin.read()}", ""),
        ("import sys; return {'out': [*sys.stdin]}", []),
        ("import sys; return {'out': sys.stdin.buffer.read().decode()}", ""),
        ("import os; return {'out': os.path.samefile('/proc/self/fd/0', os.devnull)}", True),
        ("import subprocess; return {'out': subprocess.run(['cat'], capture_output=True).stdout.decode()}", ""),
        (
            "import subprocess; return {'out': subprocess.check_output('cat < /dev/stdin', shell=True, text=True)}",
            "",
        ),
        ("import os; return {'out': os.system('read line')}", 256),
    ],
)
async def test_standard_input_is_at_its_end_for_a_block_and_for_what_it_starts(
    kind: str, body: str, out: object, tmp_path: Path
) -> None:
    found = await run_block(tmp_path, f"{kind} main(inputs, ctx):\n    {body}\n", workers=1)
    assert end_of(found).outputs == {"out": out}


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    "ask", ["input()", "input('name? ')", "__import__('getpass').getpass()", "next(iter(input, ''))"]
)
async def test_asking_for_input_says_where_it_can_come_from(kind: str, ask: str, tmp_path: Path) -> None:
    source = f"import warnings\n{kind} main(inputs, ctx):\n    warnings.simplefilter('ignore')\n    {ask}\n"
    end = end_of(await run_block(tmp_path, source, workers=1))
    assert "EOFError: a block has no standard input" in str(end.error)
    assert "--in-process" in str(end.error)


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    "debug",
    [
        "breakpoint()",
        "__import__('pdb').set_trace()",
        "__import__('pdb').run('1')",
    ],
)
async def test_a_debugger_says_which_command_has_a_terminal_for_it(kind: str, debug: str, tmp_path: Path) -> None:
    end = end_of(
        await run_block(tmp_path, f"{kind} main(inputs, ctx):\n    {debug}\n    return {{'out': 1}}\n", workers=1)
    )
    assert "asyncblock run --in-process" in str(end.error)


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("leave", ["exit", "quit"])
async def test_exit_and_quit_end_the_job_and_leave_standard_input_to_the_others(
    kind: str, leave: str, tmp_path: Path
) -> None:
    source = f"import sys\n{kind} main(inputs, ctx):\n    try:\n        {leave}()\n    finally:\n        print(sys.stdin.closed, repr(sys.stdin.read()))\n"
    found = await run_block(tmp_path, source, workers=1)
    assert end_of(found).state == "succeeded"
    assert [line.log for line in all_of(found, events.BlockLog)] == ["False ''"]


async def test_a_block_that_has_input_of_its_own_is_asked_nothing(tmp_path: Path) -> None:
    source = """
        import io
        import sys

        def main(inputs, ctx):
            before, sys.stdin = sys.stdin, io.StringIO("given\\n")
            try:
                return {"out": input()}
            finally:
                sys.stdin = before
        """
    assert end_of(await run_block(tmp_path, source, workers=1)).outputs == {"out": "given"}
