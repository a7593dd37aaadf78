"""Who is to own what: for every small set, and as members come and go."""

from __future__ import annotations

import random
from collections import Counter
from itertools import product

from asyncblock.server.cluster.ownership import BEAT, PATIENCE
from asyncblock.server.cluster.partitionshares import SETTLE, PartitionShares, planned_owners

MEMBERS = ["a", "b", "c"]


def check(owners: dict[int, str], members: list[str]) -> None:
    planned = planned_owners(owners, members)
    assert planned == planned_owners(dict(reversed(owners.items())), members[::-1]), "it is the same for whoever asks"
    counts = Counter(planned.values())
    assert set(planned) == set(owners)
    assert set(counts) <= set(members)
    shares = [counts[member] for member in members]
    assert max(shares) - min(shares) <= 1
    # As few move as can.
    kept = sum(planned[partition] == owner for partition, owner in owners.items())
    has = Counter(owner for owner in owners.values() if owner in members)
    share, more = divmod(len(owners), len(members))
    assert kept == sum(
        min(count, share + (place < more)) for place, (_, count) in enumerate(has.most_common(len(members)))
    )
    # And once it is so, it stays so.
    assert planned_owners(planned, members) == planned


def test_all_sets_of_up_to_five_partitions_and_three_members_are_spread_evenly_and_moved_little() -> None:
    for partitions in range(1, 6):
        for owned in product(["", "gone", *MEMBERS], repeat=partitions):
            for living in (["a"], ["a", "b"], MEMBERS):
                check(dict(enumerate(owned)), living)


def test_larger_ones_are_too() -> None:
    dice = random.Random(1)
    for _ in range(300):
        owned = dice.choices(["", *"abcdefgh"], k=dice.randint(1, 64))
        check(dict(enumerate(owned)), sorted(dice.sample("abcdefgh", dice.randint(1, 8))))


def test_what_a_member_owned_is_spread_over_those_that_are_left() -> None:
    owners = {0: "a", 1: "a", 2: "b", 3: "c", 4: "c", 5: "b"}
    assert planned_owners(owners, ["b", "c"]) == {**owners, 0: "b", 1: "c"}


def test_one_that_joins_takes_of_each_what_is_beyond_its_share() -> None:
    owners = {0: "a", 1: "a", 2: "b", 3: "b"}
    assert planned_owners(owners, ["a", "b", "c"]) == {**owners, 3: "c"}
    assert planned_owners({0: "a", 1: "a", 2: "a", 3: "a"}, ["a", "b"]) == {0: "a", 1: "a", 2: "b", 3: "b"}
    assert planned_owners({0: "a"}, []) == {}


def test_nothing_is_handed_over_before_all_is_quiet() -> None:
    shares = PartitionShares("a")
    owners = {0: "a", 1: "a", 2: "a", 3: "a"}
    assert shares.surplus(owners, 0.0) is None
    assert shares.surplus(owners, SETTLE) is None, "there is nobody to take it"
    shares.heard("b", 2.0)
    assert shares.surplus(owners, 2.0) is None
    shares.heard("b", 2.0 + SETTLE)
    assert shares.surplus(owners, 2.0 + SETTLE) == (2, "b")
    # One is without an owner, and then owned by who was to have it: both are changes.
    assert shares.surplus({**owners, 2: ""}, 3.5) is None
    shares.heard("b", 4.5)
    assert shares.surplus({**owners, 2: ""}, 4.6) is None
    owners[2] = "b"
    assert shares.surplus(owners, 4.7) is None
    shares.heard("b", 5.7)
    assert shares.surplus(owners, 5.7) == (3, "b")
    owners[3] = "b"
    shares.heard("b", 7.0)
    assert [shares.surplus(owners, now) for now in (7.0, 8.0)] == [None, None]


def test_who_is_silent_is_left_out_before_what_it_owned_is_claimed() -> None:
    shares = PartitionShares("a")
    owners = {0: "a", 1: "b"}
    shares.heard("b", 0.0)
    assert shares.plan(owners, 1.0) == owners
    assert shares.plan(owners, PATIENCE - BEAT) == {0: "a", 1: "a"}
    shares.heard("b", 5.0)
    shares.heard("c", 5.0)
    assert shares.heirs(owners, 5.0) == {0: "c", 1: "b"}
    assert shares.heirs(owners, 9.0) == {}
