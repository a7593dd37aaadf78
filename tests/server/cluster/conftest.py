from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..jetstream.servers import NatsServers, nats_servers


@pytest.fixture(scope="package")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServers]:
    with nats_servers(tmp_path_factory.mktemp("nats")) as servers:
        yield servers


@pytest.fixture
def three_servers(tmp_path: Path) -> Iterator[NatsServers]:
    """Servers of this test alone, which kills some."""
    with nats_servers(tmp_path, 3) as servers:
        yield servers
