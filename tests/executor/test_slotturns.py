"""Turns of partitions at the slots of one executor."""

from __future__ import annotations

import random
from collections import Counter
from itertools import count

import pytest

from asyncblock.executor.slotturns import JobKey, SlotTurns


def key(name: str) -> JobKey:
    return name, 1


def test_a_partition_alone_is_told_to_hand_out_as_it_likes() -> None:
    turns = SlotTurns(2)
    assert [turns.take(0, key(name)) for name in "abc"] == [True, True, False]
    assert turns.offers() == []
    turns.over(key("a"))
    assert turns.offers() == [(0, None)]
    assert turns.offers() == []
    assert turns.take(0, key("c"))
    assert not turns.take(0, key("d"))


def test_a_slot_that_is_offered_isnt_taken_by_another() -> None:
    turns = SlotTurns(1)
    assert turns.take(0, key("a"))
    assert not turns.take(1, key("b"))
    turns.over(key("a"))
    # Nobody has a slot, and nobody else waits: it is alone now.
    assert turns.offers() == [(1, None)]
    assert turns.take(1, key("b"))
    assert [turns.take(0, key("c")), turns.take(2, key("d"))] == [False, False]
    turns.over(key("b"))
    assert turns.offers() == [(0, 1)]
    assert not turns.take(2, key("d"))
    assert turns.take(0, key("c"))
    turns.answered(0, 1, [key("c")])
    turns.over(key("c"))
    assert turns.offers() == [(2, 1)]


def test_a_slot_is_kept_for_the_jobs_of_the_answer_until_they_come_or_never_do() -> None:
    turns = SlotTurns(2)
    assert [turns.take(0, key("a")), turns.take(1, key("b"))] == [True, True]
    assert not turns.take(1, key("c"))
    turns.over(key("a"))
    turns.waits(0)
    assert turns.offers() == [(1, 1)]
    turns.answered(1, 1, [key("c")])
    assert not turns.take(0, key("d"))
    # Ended before it came.
    turns.comes_not(key("c"))
    assert turns.offers() == [(0, 1)]
    turns.answered(0, 1, [key("d")])
    # The connection is lost: the job is handed out again, or has ended meanwhile.
    turns.begins_anew(0)
    assert turns.offers() == [(1, 1)]
    turns.answered(1, 1, [])
    assert turns.take(0, key("d"))


def test_what_has_come_and_gone_before_the_answer_is_counted_once() -> None:
    turns = SlotTurns(1)
    assert turns.take(0, key("a"))
    turns.waits(1)
    turns.waits(2)
    turns.over(key("a"))
    assert turns.offers() == [(1, 1)]
    assert turns.take(1, key("c"))
    turns.over(key("c"))
    turns.answered(1, 1, [key("c")])
    assert turns.offers() == [(2, 1)]
    turns.answered(2, 1, [])
    assert turns.offers() == [(1, None)]
    assert [turns.take(1, key("e")), turns.take(1, key("f"))] == [True, False]


def test_a_partition_that_is_gone_holds_nothing_back() -> None:
    turns = SlotTurns(1)
    assert turns.take(0, key("a"))
    turns.waits(1)
    turns.waits(2)
    turns.over(key("a"))
    assert turns.offers() == [(1, 1)]
    turns.gone(1)
    turns.answered(1, 1, [])
    assert turns.offers() == [(2, None)]


def test_threads_that_are_back_have_no_slot_of_another() -> None:
    turns = SlotTurns(1)
    assert turns.take(0, key("a"))
    turns.parked(1)
    assert turns.take(1, key("b"))
    turns.parked(-1)
    turns.over(key("b"))
    assert not turns.take(1, key("c"))
    turns.over(key("a"))
    assert turns.offers() == [(1, None)]


class Owners:
    """Owners of partitions with endless jobs, and an executor that has turns."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.slots, self.partitions = self.chance.randrange(1, 6), self.chance.randrange(2, 5)
        self.turns = SlotTurns(self.slots)
        self.running: dict[JobKey, int] = {}
        self.declined: set[int] = set()
        self.had: Counter[int] = Counter()
        self._numbers = count()

    def job(self) -> JobKey:
        return key(str(next(self._numbers)))

    def begin(self, partition: int, job: JobKey) -> bool:
        if not self.turns.take(partition, job):
            self.declined.add(partition)
            return False
        self.running[job] = partition
        self.had[partition] += 1
        assert len(self.running) <= self.slots
        return True

    def end(self, job: JobKey) -> None:
        owner = self.running.pop(job)
        self.turns.over(job)
        if owner not in self.declined:
            # It believes that its slot is free.
            self.begin(owner, self.job())
        while found := self.turns.offers():
            for partition, slots in found:
                assert slots is not None
                self.answer(partition, slots)

    def answer(self, partition: int, slots: int) -> None:
        jobs = [self.job() for _ in range(slots)]
        early = [job for job in jobs if self.chance.random() < 0.5]
        assert all(self.begin(partition, job) for job in early)
        self.turns.answered(partition, slots, jobs)
        for job in jobs:
            if job not in early and self.chance.random() < 0.1:
                # Ended before it came.
                self.turns.comes_not(job)
            elif job not in early:
                assert self.begin(partition, job)


@pytest.mark.parametrize("seed", range(100))
def test_partitions_with_endless_jobs_have_the_same_share_whatever_comes_in_between(seed: int) -> None:
    owners = Owners(seed)
    for partition in range(owners.partitions):
        while owners.begin(partition, owners.job()):
            pass
    owners.had.clear()
    for _ in range(500):
        owners.end(owners.chance.choice(sorted(owners.running)))
    fair = owners.had.total() / owners.partitions
    assert all(0.8 * fair <= owners.had[each] <= 1.2 * fair for each in range(owners.partitions)), owners.had
