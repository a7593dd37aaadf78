"""A broker, and an engine with one executor of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

pytest.importorskip("oocana", reason="needs the extra 'oocana'")

from . import Broker, Engine, engine, mosquitto


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    async with mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
async def peer(tmp_path: Path, broker: Broker) -> AsyncIterator[Engine]:
    async with engine(tmp_path, broker) as running:
        yield running
