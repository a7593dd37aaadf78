"""The pytest plugin: the fixture ``block_run``. It is installed with asyncblock and loads nothing until it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .blockruns import BlockRunner

__all__ = ["block_run"]


@pytest.fixture
def block_run() -> BlockRunner:
    """Run a block against an in-memory mainframe over the real wire, with a real Context.

    ::

        async def test_it_doubles(block_run):
            result = await block_run(main, {"value": 21})
            assert result.outputs == {"out": 42}
            assert result.error is None
    """
    from .blockruns import run_block

    return run_block
