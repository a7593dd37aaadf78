"""How a command ends: its exit code, and what is printed of errors."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import pytest
import typer

from asyncblock.cli.finishing import run_command
from asyncblock.errors import (
    DataDirInUse,
    InvalidFlow,
    MainframeFailed,
    Problem,
    Rejected,
    Unauthorized,
)


def ended(error: BaseException | None = None, code: int = 0) -> int:
    """Return the exit code of a command that raises an error, or returns a code."""

    async def work() -> int:
        if error is not None:
            raise error
        return code

    with pytest.raises(typer.Exit) as exit:
        run_command(work())
    return exit.value.exit_code


def test_what_a_command_returns_is_its_exit_code() -> None:
    assert [ended(code=code) for code in (0, 1, 2)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InvalidFlow([Problem("one"), Problem("two")]), 2, "asyncblock: the flow can't be run:\n  one\n  two\n"),
        (MainframeFailed("it broke"), 70, "asyncblock: it broke\n"),
        (Rejected("no such session", code="session"), 2, "asyncblock: no such session\n"),
        (Unauthorized("wrong token", code="token"), 2, "asyncblock: wrong token; give another one with --token"),
        (DataDirInUse("open it elsewhere", path="/data", holder="7"), 2, "asyncblock: open it elsewhere\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_becomes_one_message(
    error: Exception, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(error) == code
    assert capsys.readouterr().err.startswith(words)


def test_of_a_directory_in_use_the_cause_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> NoReturn:
        raise DataDirInUse("for libraries", path="/data", holder="7") from ValueError("for people")

    with pytest.raises(typer.Exit):
        run_command(work())
    assert capsys.readouterr().err == "asyncblock: for people\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError()], ids=repr)
def test_an_interrupt_has_the_code_of_one(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(error) == 130
    assert capsys.readouterr().err == ""
