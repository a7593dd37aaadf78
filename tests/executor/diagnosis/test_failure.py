from __future__ import annotations

import asyncio
import json
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import asyncblock.errors
from asyncblock.errors import LocalProtocolError
from asyncblock.executor.diagnosis import failure
from asyncblock.executor.diagnosis.failure import MAX_TRACEBACK, author_traceback, summary
from asyncblock.executor.diagnosis.origin import Origin, Origins

ROOT = Path("/work of/pkg")
BLOCK = str(ROOT / "blocks" / "a" / "main.py")
HELPER = str(ROOT / "lib.py")
USER = "/home/me/service.py"
LIBRARY = "/env/lib/python3/site-packages/pandas/io.py"
OURS = str(Path(asyncblock.errors.__file__).with_name("context.py"))
JOB = str(Path(failure.__file__).parents[1] / "attempts" / "job.py")
PYTHON = str(asyncio.__file__)
JSON = str(json.__file__)
FROZEN = "<frozen importlib._bootstrap>"
EXAMPLE = str(Path(asyncblock.errors.__file__).with_name("examples") / "a.py")


def raised_through(
    *files: str, error: BaseException | None = None, cause: BaseException | None = None
) -> BaseException:
    """Raise through one frame for each file, outermost first, and return the error with their frames only."""
    error = error or ValueError("bad")

    def throw() -> None:
        if cause is None:
            raise error
        raise error from cause

    call: Callable[[], None] = throw
    for file in reversed(files):
        scope: dict[str, Any] = {"call": call}
        exec(compile("def f(): call()", file, "exec"), scope)
        call = scope["f"]
    try:
        call()
    except BaseException as caught:
        frames = caught.__traceback__
        assert frames is not None
        inner = frames.tb_next
        if inner is not None:
            _drop_last(inner)
        return caught.with_traceback(inner)
    raise AssertionError


def _drop_last(frames: Any) -> None:
    """Take the frame of ``throw`` off, which stands in this file."""
    while frames.tb_next.tb_next is not None:
        frames = frames.tb_next
    frames.tb_next = None


def files_in(text: str) -> list[str]:
    return re.findall(r'File "(.*?)", line', text)


CASES: dict[str, tuple[list[str], list[str]]] = {
    "author alone": ([BLOCK], [BLOCK]),
    "executor above": ([JOB, PYTHON, BLOCK], [BLOCK]),
    "library decorator above": ([JOB, LIBRARY, BLOCK], [BLOCK]),
    "user's code above a block": ([USER, JOB, BLOCK], [BLOCK]),
    "import machinery": ([JOB, FROZEN, FROZEN, BLOCK, FROZEN, HELPER], [BLOCK, HELPER]),
    "library below": ([JOB, BLOCK, LIBRARY, JSON], [BLOCK, LIBRARY, JSON]),
    "asyncio below": ([JOB, BLOCK, PYTHON], [BLOCK, PYTHON]),
    "between two": ([JOB, BLOCK, LIBRARY, HELPER], [BLOCK, LIBRARY, HELPER]),
    "code block": ([JOB, PYTHON, USER, LIBRARY], [USER, LIBRARY]),
    "an example of ours": ([JOB, PYTHON, EXAMPLE], [EXAMPLE]),
    "library alone": ([PYTHON, LIBRARY], [LIBRARY]),
    "bug of ours": ([JOB, PYTHON], [JOB, PYTHON]),
    "bug of ours below": ([JOB, BLOCK, OURS, OURS], [BLOCK, OURS, OURS]),
    "bug of ours in a call of Python": ([JOB, BLOCK, OURS, JSON], [BLOCK, OURS, JSON]),
    "through us to the author": ([JOB, BLOCK, OURS, HELPER], [BLOCK, HELPER]),
}


@pytest.mark.parametrize(("through", "shown"), CASES.values(), ids=CASES)
def test_frames(through: list[str], shown: list[str]) -> None:
    text = author_traceback(raised_through(*through), roots=[Path("/other"), ROOT])
    assert files_in(text) == shown
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("ValueError: bad\n")


OUR_ERRORS: dict[str, tuple[list[str], list[str]]] = {
    "called by the author": ([JOB, BLOCK, OURS, JSON], [BLOCK, JSON]),
    "called by nobody": ([JOB, OURS], []),
}


@pytest.mark.parametrize(("through", "shown"), OUR_ERRORS.values(), ids=OUR_ERRORS)
def test_frames_of_our_own_errors(through: list[str], shown: list[str]) -> None:
    text = author_traceback(raised_through(*through, error=LocalProtocolError("no such")), roots=[ROOT])
    assert files_in(text) == shown
    assert text.endswith("asyncblock.errors.LocalProtocolError: no such\n")
    if not shown:
        assert text.count("\n") == 1


def test_causes_and_contexts() -> None:
    cause = raised_through(JOB, BLOCK, LIBRARY, error=KeyError("x"))
    text = author_traceback(raised_through(JOB, BLOCK, cause=cause), roots=[ROOT])
    assert files_in(text) == [BLOCK, LIBRARY, BLOCK]
    assert "direct cause of the following exception" in text
    error = raised_through(JOB, BLOCK)
    error.__context__ = raised_through(PYTHON, LIBRARY, error=KeyError("x"))
    assert files_in(author_traceback(error, roots=[ROOT])) == [LIBRARY, BLOCK]
    error.__suppress_context__ = True
    assert files_in(author_traceback(error, roots=[ROOT])) == [BLOCK]


def test_a_circle_of_causes_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    text = author_traceback(one, roots=[ROOT])
    assert text.count("ValueError: one") == text.count("ValueError: two") == 1


def test_groups() -> None:
    parts = [raised_through(JOB, BLOCK, error=KeyError("x")), raised_through(PYTHON, HELPER, LIBRARY)]
    group = BaseExceptionGroup("several", [*parts, ValueError("never raised")])
    text = author_traceback(raised_through(JOB, BLOCK, PYTHON, error=group), roots=[ROOT])
    assert files_in(text) == [BLOCK, PYTHON, BLOCK, HELPER, LIBRARY]
    assert "KeyError: 'x'" in text
    assert "ValueError: never raised" in text


def test_syntax_error_shows_its_line_and_none_of_the_machinery() -> None:
    with pytest.raises(SyntaxError) as caught:
        compile("x = 1\ny = (\n", BLOCK, "exec")
    text = author_traceback(caught.value.with_traceback(None), roots=[ROOT])
    assert files_in(text) == [BLOCK]
    assert "line 2" in text
    assert "y = (" in text
    assert text.endswith("SyntaxError: '(' was never closed\n")
    below = raised_through(JOB, FROZEN, BLOCK, FROZEN, OURS, error=caught.value)
    assert files_in(author_traceback(below, roots=[ROOT])) == [BLOCK, BLOCK]


def test_notes_are_shown() -> None:
    error = raised_through(BLOCK)
    error.add_note("look at row 3")
    assert author_traceback(error, roots=[ROOT]).endswith("ValueError: bad\nlook at row 3\n")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


class Shy(Exception):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]  # the misbehaviour under test
        raise ValueError("no notes")


def test_errors_without_words() -> None:
    text = author_traceback(raised_through(JOB, BLOCK, error=Unspeakable()), roots=[ROOT])
    assert files_in(text) == [BLOCK]
    assert "Unspeakable: <exception str() failed>" in text
    text = author_traceback(raised_through(JOB, BLOCK, error=Shy("x")), roots=[ROOT])
    assert text.startswith("Shy: x\n") or files_in(text) == [BLOCK]


def test_a_long_traceback_loses_its_middle() -> None:
    text = author_traceback(raised_through(BLOCK, error=ValueError("é" * 1_000_000 + "the end")), roots=[ROOT])
    assert len(text.encode()) <= MAX_TRACEBACK
    assert text.startswith("Traceback")
    assert text.endswith("the end\n")
    left_out = re.search(r"\n\.\.\. (\d+) bytes left out \.\.\.\n", text)
    assert left_out is not None
    assert int(left_out[1]) > 1_900_000


def test_a_deep_recursion_is_shown_short() -> None:
    scope: dict[str, Any] = {}
    exec(compile("def f(): g()\ndef g(): f()", BLOCK, "exec"), scope)
    with pytest.raises(RecursionError) as caught:
        scope["f"]()
    text = author_traceback(caught.value, roots=[ROOT])
    assert len(text.encode()) <= MAX_TRACEBACK
    assert "RecursionError: maximum recursion depth exceeded" in text
    assert set(files_in(text)) == {BLOCK}


def test_text_that_utf_8_cannot_carry_is_escaped() -> None:
    error = raised_through(BLOCK, error=ValueError("\udcff"))
    assert "ValueError: \\udcff" in author_traceback(error, roots=[ROOT])
    assert summary(error) == "ValueError: \\udcff"


def test_the_author_s_line_is_quoted(tmp_path: Path) -> None:
    file = tmp_path / "main.py"
    file.write_text("def main():\n    return 1 / 0  # here\n")
    scope: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), scope)
    with pytest.raises(ZeroDivisionError) as caught:
        scope["main"]()
    lines = author_traceback(caught.value, roots=[tmp_path]).splitlines()
    assert lines[1:3] == [f'  File "{file}", line 2, in main', "    return 1 / 0  # here"]


SUMMARIES: dict[str, tuple[BaseException, str]] = {
    "plain": (ValueError("bad"), "ValueError: bad"),
    "no words": (ValueError(), "ValueError"),
    "blank": (ValueError(" \n "), "ValueError"),
    "first line": (ValueError("\n  one\ntwo"), "ValueError: one"),
    "key": (KeyError("x"), "KeyError: 'x'"),
    "two arguments": (ValueError(1, "a"), "ValueError: (1, 'a')"),
    "ours": (LocalProtocolError("no such"), "LocalProtocolError: no such"),
    "syntax": (SyntaxError("bad", ("/a/b.py", 3, 1, "x")), "SyntaxError: bad (b.py, line 3)"),
    "exit": (SystemExit(3), "SystemExit: 3"),
    "unspeakable": (Unspeakable(), "Unspeakable: (its text can't be had: str() raised ValueError)"),
    "long": (ValueError("x" * 5000), "ValueError: " + "x" * 988 + "..."),
    "group": (
        ExceptionGroup("several", [ValueError("a"), ExceptionGroup("inner", [KeyError("b")])]),
        "ExceptionGroup: several (2 sub-exceptions): ValueError: a; "
        "ExceptionGroup: inner (1 sub-exception): KeyError: 'b'",
    ),
    "large group": (
        ExceptionGroup("several", [ValueError(str(i)) for i in range(9)]),
        "ExceptionGroup: several (9 sub-exceptions): ValueError: 0; ValueError: 1; ValueError: 2; ...",
    ),
}


@pytest.mark.parametrize(("error", "line"), SUMMARIES.values(), ids=SUMMARIES)
def test_summary(error: BaseException, line: str) -> None:
    assert summary(error) == line


ORIGINS: list[tuple[str, Origin]] = [
    (BLOCK, "author"),
    (f"{ROOT}/.venv/lib/python3.11/site-packages/x.py", "library"),
    (f"{ROOT}x/main.py", "author"),
    (USER, "author"),
    ("<string>", "author"),
    (LIBRARY, "library"),
    ("/usr/lib/python3/dist-packages/x.py", "library"),
    (PYTHON, "python"),
    (FROZEN, "python"),
    (OURS, "ours"),
    (EXAMPLE, "author"),
]


@pytest.mark.parametrize(("file", "origin"), ORIGINS)
def test_whose_code_a_file_is(file: str, origin: Origin) -> None:
    assert Origins([ROOT]).of(file) == origin


def test_a_package_that_is_installed_is_still_its_author_s() -> None:
    root = Path("/env/lib/site-packages/demo")
    assert Origins([root]).of(f"{root}/blocks/a.py") == "author"
    assert Origins().of(f"{root}/blocks/a.py") == "library"


def test_a_root_behind_a_symlink_is_known_by_both_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    origins = Origins([tmp_path / "link"])
    assert origins.is_block_file(str(tmp_path / "real" / "a.py"))
    assert origins.is_block_file(str(tmp_path / "link" / "a.py"))


def test_the_real_import_system_leaves_no_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outer_module.py").write_text("import inner_module\n")
    (tmp_path / "inner_module.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError) as caught:
        __import__("outer_module")
    text = author_traceback(caught.value, roots=[tmp_path])
    assert [Path(file).name for file in files_in(text)] == ["outer_module.py", "inner_module.py"]
    assert len(traceback.extract_tb(caught.tb)) > 2
    assert "outer_module" not in sys.modules
