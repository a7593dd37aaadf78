from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..jetstream.servers import NatsServers, nats_servers


@pytest.fixture(scope="package")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServers]:
    with nats_servers(tmp_path_factory.mktemp("nats")) as servers:
        yield servers
