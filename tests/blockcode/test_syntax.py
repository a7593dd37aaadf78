from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import pytest

from asyncblock.blockcode.syntax import parse


def test_a_file_is_parsed_and_its_errors_have_their_place() -> None:
    assert isinstance(parse(b"x = 1\n", "a.py").body[0], ast.Assign)
    with pytest.raises(SyntaxError) as caught:
        parse(b"\ndef main(:\n", "a.py")
    assert (caught.value.filename, caught.value.lineno) == ("a.py", 2)


def test_what_another_thread_s_parse_does_to_ours_is_no_error_of_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPython's own mistake can't be had on demand; what it raises can."""
    real: Callable[..., Any] = ast.parse
    raised = [SystemError("AST constructor recursion depth mismatch (before=24, after=19)")]

    def parsed(*args: Any) -> Any:
        if raised:
            raise raised.pop()
        return real(*args)

    monkeypatch.setattr(ast, "parse", parsed)
    assert parse(b"x = 1\n", "a.py").body
    assert not raised
