"""Members of a set that die and come back, by the beats that are heard of them."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from asyncblock.testing.chaos.chaosset import ChaosSet
from asyncblock.testing.chaos.natsnodes import NatsNodes
from asyncblock.testing.chaos.system import SERVE


@pytest.mark.timeout(120)
async def test_an_owner_that_was_killed_owns_the_set_again(tmp_path: Path) -> None:
    async with NatsNodes(tmp_path, 1) as nodes, ChaosSet(tmp_path, nodes, 1, SERVE) as found:
        assert len(found.terms) == 1
        assert len(found.pids()) == 2
        assert found.url == found.owner.url
        assert found.owner.process.end(signal.SIGKILL, 0)
        async with asyncio.timeout(60):
            await found.until_owners(2)
        assert found.terms == sorted(found.terms)
    assert found.pids() == []
