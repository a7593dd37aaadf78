from __future__ import annotations

import pytest

from asyncblock.errors import Unavailable
from asyncblock.server.cluster.monitoring import check_sync

from ..jetstream.servers import NatsServers


async def test_a_server_that_syncs_always_says_so(one_server: NatsServers) -> None:
    await check_sync([each + "/" for each in one_server.monitoring])


async def test_each_of_them_has_to_answer(one_server: NatsServers) -> None:
    with pytest.raises(Unavailable, match=r"the monitoring of the NATS server at http://127\.0\.0\.1:1 doesn't answer"):
        await check_sync([*one_server.monitoring, "http://127.0.0.1:1"])


async def test_what_isnt_its_address_is_said_to_be_none(one_server: NatsServers) -> None:
    for wrong in (one_server.urls[0], "127.0.0.1:8222", "file:///etc/passwd"):
        with pytest.raises(Unavailable, match="is no address of a NATS server's monitoring"):
            await check_sync([wrong])
