"""NATS nodes that die and come back with what they have stored."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from asyncblock.server.jetstream import PartitionNames
from asyncblock.testing.chaos.natsnodes import NatsNodes


@pytest.mark.timeout(120)
async def test_three_nodes_find_each_other_through_their_proxies_and_keep_a_set(tmp_path: Path) -> None:
    async with NatsNodes(tmp_path, 3) as nodes:
        made = await nodes.make_set("s")
        leader = await nodes.leader(PartitionNames("s"))
        assert leader in nodes.nodes
        assert sum(route.accepted for route in nodes.routes) >= 3
        for node in nodes.nodes:
            assert node.end(signal.SIGKILL, 0)
        assert await nodes.make_set("s") == made
    assert nodes.pids() == []
