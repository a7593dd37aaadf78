"""What all tests share: the I/O thread runs on the loop that a plain installation has."""

from __future__ import annotations

import ast
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["asyncblock.testing.plugin"]


def one_at_a_time(parse: Callable[..., Any]) -> Callable[..., Any]:
    lock = threading.RLock()

    @functools.wraps(parse)
    def locked(*args: Any, **kwargs: Any) -> Any:
        with lock:
            return parse(*args, **kwargs)

    return locked


if sys.version_info < (3, 11, 8):
    # To show where a test has failed pytest parses its file. Until 3.11.8 a parse in another thread could make that one
    # raise SystemError (``asyncblock.blockcode.syntax`` says why), and the whole run end.
    ast.parse = one_at_a_time(ast.parse)


@pytest.fixture(autouse=True)
def standard_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave uvloop, which the tests have installed, to the tests that are about it."""
    monkeypatch.setenv("ASYNCBLOCK_LOOP", "asyncio")


@pytest.fixture(scope="session", autouse=True)
def state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what commands and failed runs leave behind out of this user's directories."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("state")
        patch.setenv("XDG_STATE_HOME", str(home))
        yield home
