"""Several addresses, of which one serves: tried in turn, followed where one says who does."""

from __future__ import annotations

import asyncio

import pytest

from asyncblock.client import dialling
from asyncblock.client.dialling import Dialler
from asyncblock.errors import ConnectionLost, Unauthorized
from asyncblock.transport import Transport
from asyncblock.transport.memory import memory_pair
from asyncblock.transport.upgrades import StandsBy

A, B, C = "ws://a", "ws://b", "ws://c"


class Net:
    """What answers at which address."""

    def __init__(self, **answers: Exception | None) -> None:
        self.answers = {f"ws://{name}": answer for name, answer in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, url: str) -> Transport:
        self.asked.append(url)
        answer = self.answers[url]
        if answer is not None:
            raise answer
        return memory_pair()[0]


def away() -> ConnectionLost:
    return ConnectionLost("nobody there")


async def test_the_one_that_serves_is_found_and_asked_first_the_next_time() -> None:
    net = Net(a=away(), b=StandsBy("stands by", ""), c=None)
    dialler = Dialler([A, B, C], net)
    await dialler.dial()
    await dialler.dial()
    assert net.asked == [A, B, C, C]


async def test_who_stands_by_is_believed_where_the_owner_is() -> None:
    net = Net(a=StandsBy("stands by", C), b=away(), c=None)
    dialler = Dialler([A], net)
    await dialler.dial()
    assert net.asked == [A, C]
    await Dialler([A, B, C], net).dial()
    assert net.asked[2:] == [A, C]


async def test_what_those_said_that_stand_by_is_told_before_the_silence_of_others() -> None:
    net = Net(a=StandsBy("nobody owns it yet", ""), b=away())
    with pytest.raises(StandsBy, match="nobody owns it yet"):
        await Dialler([A, B], net).dial()


async def test_two_that_send_us_to_each_other_are_asked_once() -> None:
    net = Net(a=StandsBy("a", B), b=StandsBy("b", A))
    with pytest.raises(StandsBy):
        await Dialler([A], net).dial()
    assert net.asked == [A, B]


async def test_a_token_that_is_refused_ends_it_at_once() -> None:
    net = Net(a=Unauthorized("no", code="token"), b=None)
    with pytest.raises(Unauthorized):
        await Dialler([A, B], net).dial()
    assert net.asked == [A]


async def test_a_token_never_goes_in_the_clear_where_it_was_protected() -> None:
    asked: list[str] = []

    async def connect(url: str) -> Transport:
        asked.append(url)
        raise StandsBy("stands by", "ws://other")

    with pytest.raises(StandsBy):
        await Dialler(["wss://a"], connect).dial()
    assert asked == ["wss://a"]


async def test_addresses_that_a_mainframe_names_are_tried_when_those_given_are_away() -> None:
    net = Net(a=None, b=None)
    dialler = Dialler([A], net)
    dialler.learn([B])
    await dialler.dial()
    dialler.learn([A, B, "http://c", "ws://user:word@c", ""])
    net.answers[A] = away()
    await dialler.dial()
    await dialler.dial()
    # Where nothing was connected nobody could have said so; later the one that served is asked first.
    assert net.asked == [A, A, B, B]


@pytest.mark.parametrize(
    ("here", "named"), [("wss://a", "ws://b"), ("ws://a", "ws://localhost:1"), ("wss://a", "wss://127.0.0.1")]
)
async def test_a_token_doesnt_go_to_addresses_that_are_named_and_less_safe(here: str, named: str) -> None:
    asked: list[str] = []

    async def connect(url: str) -> Transport:
        asked.append(url)
        if len(asked) > 1:
            raise away()
        return memory_pair()[0]

    dialler = Dialler([here], connect)
    await dialler.dial()
    dialler.learn([named])
    with pytest.raises(ConnectionLost):
        await dialler.dial()
    assert asked == [here, here]


async def test_an_address_at_which_nothing_answers_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "_EACH", 0.05)
    asked: list[str] = []

    async def connect(url: str) -> Transport:
        asked.append(url)
        if url == A:
            await asyncio.Event().wait()
        return memory_pair()[0]

    await Dialler([A, B], connect).dial()
    assert asked == [A, B]
