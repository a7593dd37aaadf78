from __future__ import annotations

from asyncblock.server.cluster.memberaddresses import MemberAddresses


def test_who_isnt_heard_any_more_is_told_of_for_a_while() -> None:
    addresses = MemberAddresses()
    for address in ("ws://b", "ws://own", "", "ws://c"):
        addresses.heard(address, 100.0)
    addresses.heard("ws://b", 130.0)
    assert addresses.known("ws://own", 159.0) == ["ws://own", "ws://b", "ws://c"]
    assert addresses.known("ws://own", 161.0) == ["ws://own", "ws://b"]
    assert addresses.known("ws://own", 190.0) == ["ws://own"]
