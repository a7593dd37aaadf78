from __future__ import annotations

import pytest

from asyncblock.errors import LocalProtocolError
from asyncblock.server.cluster.clusterservers import ClusterServers


@pytest.mark.parametrize(
    ("given", "urls", "who"),
    [
        ("nats://a,b,c", ("nats://a:4222", "nats://b:4222", "nats://c:4222"), {}),
        ("a:1, b:2", ("nats://a:1", "nats://b:2"), {}),
        ("tls://u:p%40ss@a,b:1", ("tls://a:4222", "tls://b:1"), {"user": "u", "password": "p@ss"}),
        ("nats://u:p@a,nats://u:p@b", ("nats://a:4222", "nats://b:4222"), {"user": "u", "password": "p"}),
        ("nats://token@[::1]:7", ("nats://[::1]:7",), {"token": "token"}),
    ],
)
def test_addresses_are_read(given: str, urls: tuple[str, ...], who: dict[str, str]) -> None:
    found = ClusterServers.read(given)
    assert (found.urls, found.who) == (urls, who)
    assert "p@ss" not in repr(found) + str(found)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "no NATS server was named"),
        (" , ", "no NATS server was named"),
        ("http://a", "is no address of a NATS server"),
        ("nats://a/path", "is no address"),
        ("nats://a:port", "is no address"),
        ("nats://u:secret@a:port", "is no address"),
        ("nats://u:p@a,nats://v:secret@b", "another user than the first"),
    ],
)
def test_what_is_no_address_is_refused_without_its_password(given: str, words: str) -> None:
    with pytest.raises(LocalProtocolError, match=words) as refused:
        ClusterServers.read(given)
    assert "secret" not in str(refused.value)


def test_who_is_on_this_machine_is_told_from_others() -> None:
    assert ClusterServers.read("nats://127.0.0.1,localhost:1").local
    assert not ClusterServers.read("nats://127.0.0.1,nats.example").local
