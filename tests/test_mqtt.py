"""The door of MQTT, on a real broker: order, what is said while the broker is away, and addresses."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

pytest.importorskip("paho.mqtt.client", reason="needs the extra 'oocana'")

from asyncblock.errors import Unavailable
from asyncblock.mqtt import Broker

from .bridge import NEEDS_MOSQUITTO, mosquitto
from .bridge import Broker as Mosquitto


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with mosquitto(tmp_path) as running:
        yield running


class Heard:
    """What a subscriber hears, waited for by number."""

    def __init__(self) -> None:
        self.came: list[tuple[str, bytes]] = []
        self.back = asyncio.Event()
        self._changed = asyncio.Event()

    def take(self, topic: str, payload: bytes) -> None:
        self.came.append((topic, payload))
        self._changed.set()

    async def until(self, count: int) -> list[tuple[str, bytes]]:
        async with asyncio.timeout(30):
            while len(self.came) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.came


@NEEDS_MOSQUITTO
async def test_messages_arrive_in_their_order_and_each_is_acknowledged(broker: Mosquitto) -> None:
    heard = Heard()
    address = f"127.0.0.1:{broker.port}"
    async with Broker(address, "a", heard=heard.take) as one, Broker(f"mqtt://{address}", "b") as other:
        await one.subscribe("t/+", "u")
        # More than the client has at once.
        sent = [other.publish("t/x", b"%d" % number) for number in range(3000)]
        other.send("u", b"last")
        assert await heard.until(3001) == [*(("t/x", b"%d" % number) for number in range(3000)), ("u", b"last")]
        await asyncio.gather(*sent)
        assert await other.flush(10)
        one.unsubscribe("u")
        await one.subscribe("v")
        await other.publish("u", b"to nobody")
        await other.publish("v", b"end")
        assert (await heard.until(3002))[-1] == ("v", b"end")


@NEEDS_MOSQUITTO
async def test_nothing_is_sent_or_acknowledged_late(broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the kernel's 40 ms are in the way of each job, which ``tests/bridge/test_outgoing.py`` sees if it isn't busy."""
    options: list[int] = []
    original = socket.socket.setsockopt

    def setsockopt(sock: socket.socket, level: int, option: int, value: int) -> None:
        original(sock, level, option, value)
        if level == socket.IPPROTO_TCP and value:
            options.append(option)

    monkeypatch.setattr(socket.socket, "setsockopt", setsockopt)
    async with Broker(f"127.0.0.1:{broker.port}", "a") as one:
        assert socket.TCP_NODELAY in options
        for number in range(1, 4):
            await one.publish("t", b"x")
            assert options.count(socket.TCP_QUICKACK) == number


@NEEDS_MOSQUITTO
async def test_what_is_said_while_the_broker_is_away_arrives_when_it_is_back(broker: Mosquitto) -> None:
    heard, back = Heard(), asyncio.Event()
    address = f"127.0.0.1:{broker.port}"
    async with (
        Broker(address, "a", heard=heard.take, back=heard.back.set) as one,
        Broker(address, "b", back=back.set) as other,
    ):
        await one.subscribe("t")
        await broker.stop()
        await broker.start()
        async with asyncio.timeout(30):
            await heard.back.wait()
        # Subscribed to again by the time that this is answered.
        await one.subscribe("u")
        sent = [other.publish("t", b"%d" % number) for number in range(100)]
        await heard.until(100)
        await asyncio.gather(*sent)
        assert back.is_set()


@NEEDS_MOSQUITTO
async def test_what_the_broker_doesnt_have_yet_is_told(broker: Mosquitto) -> None:
    async with Broker(f"127.0.0.1:{broker.port}", "a") as one:
        await broker.stop()
        said = one.publish("t", b"x")
        assert not await one.flush(0.1)
        assert not said.done()
    assert said.cancelled()


@pytest.mark.parametrize("address", ["http://x:1", "mqtt://", "mqtt://x:y", "mqtt://x:1/path", "mqtt://x:99999"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(Unavailable, match="isn't the address of an MQTT broker"):
        Broker(address, "a")


async def test_without_a_broker_the_reason_is_told() -> None:
    with pytest.raises(Unavailable, match=r"no MQTT broker can be reached at 127\.0\.0\.1:1: Connection refused"):
        async with Broker("127.0.0.1:1", "a"):
            pass
