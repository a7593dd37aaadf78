"""What a member answers while it stands by."""

from __future__ import annotations

import orjson

from asyncblock.server.cluster.ownership import Beat, Ownership
from asyncblock.server.cluster.standby import StandbyDoor
from asyncblock.server.peers.access import Access
from asyncblock.transport.upgrades import OWNER_HEADER

WHO = {"authorization": "Bearer t"}


def test_it_says_where_the_owner_is_and_what_is_wrong() -> None:
    own = Ownership("b", 0.0, lambda: 0.0)
    connected = True
    door = StandbyDoor(Access("t", None), own, "s", lambda: connected)
    assert door.answer("/", {}).status == 401
    nobody = door.answer("/", WHO)
    assert (nobody.status, nobody.more[OWNER_HEADER]) == (503, "")
    own.heard(Beat("a", "owner", 8, 1, "ws://a"), 0.1)
    assert door.answer("/?x", WHO).more[OWNER_HEADER] == "ws://a"
    health = door.answer("/healthz", {})
    assert (health.status, orjson.loads(health.body)["owner"]) == (200, "ws://a")
    lines = door.answer("/metrics", WHO).body.decode().splitlines()
    assert {"asyncblock_owner 0", "asyncblock_standby 1", "asyncblock_term 8"} <= set(lines)
    openmetrics = door.answer("/metrics", {**WHO, "accept": "application/openmetrics-text"})
    assert openmetrics.body.endswith(b"# EOF\n")
    connected = False
    assert door.answer("/healthz", {}).status == 503
