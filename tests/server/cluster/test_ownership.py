"""Owners in virtual time: members that pause, are cut off and die, over a network that delays and loses."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count

import pytest

from asyncblock.server.cluster.ownership import BEAT, PATIENCE, TRUST, Act, Beat, Ownership, OwnerState


def never() -> float:
    return 0.0


def standing_by(name: str = "b") -> Ownership:
    return Ownership(name, 0.0, never)


def hears(member: Ownership, now: float) -> list[Act]:
    """Let a beat come back, and time go on."""
    member.heard(member.beat("ws://us", now), now)
    return member.tick(now)


def owning(name: str = "a", term: int = 8) -> Ownership:
    owner = standing_by(name)
    assert hears(owner, 0.9) == [Act.BEAT]
    assert owner.tick(PATIENCE) == [Act.BEAT, Act.CLAIM]
    assert owner.taken(term, PATIENCE + 0.1) == [Act.BEAT]
    assert not owner.owns
    assert owner.claimed("ws://a", PATIENCE + 0.1) == [Act.BEAT]
    return owner


def test_who_hears_an_owner_claims_nothing() -> None:
    standby = standing_by()
    for n in range(100):
        assert standby.heard(Beat("a", "owner", 8, n, "ws://a"), n * BEAT) == []
        assert hears(standby, n * BEAT) == [Act.BEAT]
    assert (standby.owner, standby.address, standby.term) == ("a", "ws://a", 8)
    assert hears(standby, 99 * BEAT + 0.9) == [Act.BEAT]
    assert standby.tick(99 * BEAT + PATIENCE) == [Act.BEAT, Act.CLAIM]


def test_an_owner_whose_beats_dont_come_back_is_silent_before_anybody_claims() -> None:
    owner = owning()
    now = PATIENCE + 0.1
    sent = owner.beat("ws://a", now)
    assert sent.state == "owner"
    owner.heard(sent, now + 0.01)
    while (acts := owner.tick(now := now + BEAT)) == [Act.BEAT]:
        owner.beat("ws://a", now)
    assert acts == [Act.SILENCE, Act.BEAT, Act.PROVE]
    assert now <= PATIENCE + 0.1 + TRUST + BEAT < PATIENCE + 0.1 + PATIENCE
    assert owner.state is OwnerState.IN_DOUBT
    assert owner.proved(now) == [Act.SPEAK, Act.BEAT]
    assert owner.owns


def test_a_clock_that_jumps_silences_an_owner_at_its_first_tick() -> None:
    owner = owning()
    assert owner.tick(100.0) == [Act.SILENCE, Act.BEAT, Act.PROVE]
    assert owner.heard(Beat("b", "owner", 16, 1, "ws://b"), 100.1) == [Act.STEP_DOWN]
    assert (owner.state, owner.owner, owner.address) == (OwnerState.STANDBY, "b", "ws://b")
    # The proof comes too late to matter.
    assert owner.proved(100.2) == []


def test_a_claim_that_was_paused_is_proved_before_a_word_is_said() -> None:
    member = standing_by()
    hears(member, 0.9)
    assert Act.CLAIM in member.tick(PATIENCE)
    member.tick(60.0)
    member.taken(8, 60.1)
    assert member.claimed("ws://b", 60.1) == [Act.SILENCE, Act.BEAT, Act.PROVE]
    assert member.overtaken(60.2, "c") == [Act.STEP_DOWN]


def test_a_claim_is_nothing_once_a_newer_owner_was_heard() -> None:
    member = standing_by()
    hears(member, 0.9)
    member.tick(PATIENCE)
    member.heard(Beat("c", "owner", 16, 1, "ws://c"), 1.6)
    # What it reads may be deleted meanwhile, so that its opening would never end.
    assert member.taken(8, 1.7) == [Act.STEP_DOWN]
    assert member.owner == "c"
    assert member.claimed("ws://b", 1.8) == [Act.STEP_DOWN]
    assert (member.state, member.term) == (OwnerState.STANDBY, 16)


def test_an_older_owner_is_not_followed() -> None:
    owner = owning(term=16)
    assert owner.heard(Beat("b", "owner", 8, 1, "ws://b"), 2.0) == []
    assert owner.owns


def test_a_claim_that_failed_names_whom_to_follow_next() -> None:
    member = standing_by()
    hears(member, 0.9)
    member.tick(PATIENCE)
    member.claim_failed(1.6, "c")
    assert (member.state, member.owner) == (OwnerState.STANDBY, "c")
    assert hears(member, 1.6 + TRUST / 2) == [Act.BEAT]


def test_who_is_deaf_claims_nothing_until_it_has_listened() -> None:
    standby = standing_by()
    for n in range(40):
        assert standby.tick(n * BEAT) == [Act.BEAT]
    assert hears(standby, 40 * BEAT) == [Act.BEAT]
    assert hears(standby, 40 * BEAT + 0.9) == [Act.BEAT]
    assert hears(standby, 39 * BEAT + PATIENCE) == [Act.BEAT, Act.CLAIM]


def test_what_is_handed_over_goes_to_whom_it_was_meant_for_at_once() -> None:
    owner, heir, other = owning(), standing_by("b"), standing_by("c")
    assert owner.hand_over("b", 2.0) == [Act.HAND_OVER]
    assert owner.tick(2.1) == [Act.BEAT]
    assert owner.handed_over(2.2) == [Act.RELEASE]
    release = owner.released("ws://a")
    assert (release.state, release.to, release.term) == ("released", "b", 8)
    for each in (heir, other):
        hears(each, 0.9)
        each.heard(Beat("a", "owner", 8, 1, "ws://a"), 1.0)
        hears(each, 1.8)
    assert heir.heard(release, 2.2) == [Act.BEAT, Act.CLAIM]
    assert other.heard(release, 2.2) == []
    # And who has handed over doesn't take it back before the others had their time.
    for n in range(1, 12):
        assert hears(owner, 2.2 + n * 0.5) == [Act.BEAT]


def test_who_claims_keeps_the_others_from_claiming() -> None:
    standby = standing_by()
    for n in range(40):
        standby.heard(Beat("a", "claiming", 0, n), n * BEAT)
        assert hears(standby, n * BEAT) == [Act.BEAT]


# ---------------------------------------------------------------------- many of them


class Stream:
    """What the stream does: a takeover raises the term, and nothing of an older one is stored."""

    def __init__(self) -> None:
        self.term = 0
        self.owner = ""


class World:
    """Members, a network and a stream in virtual time."""

    def __init__(self, seed: int, names: str) -> None:
        self.dice = random.Random(seed)
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = count()
        self.stream = Stream()
        self.loss = 0.0
        self.members: dict[str, Player] = {}
        for name in names:
            self.members[name] = Player(self, name)

    def at(self, delay: float, act: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + delay, next(self.order), act))

    def run(self, until: float) -> None:
        while self.events and self.events[0][0] <= until:
            self.now, _, act = heapq.heappop(self.events)
            act()
            self.check()
        self.now = until

    def check(self) -> None:
        speaking = [each.name for each in self.members.values() if each.speaks]
        assert len(speaking) <= 1, f"at {self.now}: {speaking}"

    def tell(self, beat: Beat, sender: Player) -> None:
        if self.dice.random() < self.loss:
            return
        for each in self.members.values():
            if not (sender.cut or each.cut):
                self.at(self.dice.uniform(0.001, 0.01), lambda each=each: each.take(beat))  # type: ignore[misc]


class Player:
    """A member as ``members`` drives it."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.life = 0
        self.paused = self.cut = self.dead = self.speaking = False
        self.waiting: list[Callable[[], None]] = []
        self.start()

    @property
    def speaks(self) -> bool:
        return self.speaking and not self.paused and not self.dead

    def start(self) -> None:
        self.life += 1
        self.dead = self.paused = self.speaking = False
        self.waiting = []
        self.own = Ownership(f"{self.name}{self.life}", self.world.now, self.world.dice.random, self.world.stream.owner)
        self.clock(self.life)

    def clock(self, life: int) -> None:
        if life != self.life or self.dead:
            return
        if self.paused:
            # The timer that was due is the first thing that runs when it wakes.
            self.waiting.insert(0, lambda: self.clock(life))
            return
        self.act(self.own.tick(self.world.now))
        self.world.at(BEAT, lambda: self.clock(life))

    def later(self, delay: float, act: Callable[[], None]) -> None:
        life = self.life

        def run() -> None:
            if life != self.life or self.dead:
                return
            if self.paused:
                self.waiting.append(run)
            else:
                act()

        self.world.at(delay, run)

    def take(self, beat: Beat) -> None:
        self.later(0, lambda: self.act(self.own.heard(beat, self.world.now)))

    def wake(self) -> None:
        self.paused = False
        waiting, self.waiting = self.waiting, []
        # A timer is in the loop's first turn, whatever came in by sockets in a later one.
        for each in waiting:
            each()

    def act(self, acts: list[Act]) -> None:
        world = self.world
        for each in acts:
            match each:
                case Act.BEAT:
                    world.tell(self.own.beat(self.name, world.now), self)
                case Act.RELEASE:
                    world.tell(self.own.released(self.name), self)
                case Act.CLAIM:
                    self.later(world.dice.uniform(0.01, 0.4), self.claim)
                case Act.SILENCE | Act.STEP_DOWN:
                    self.speaking = False
                case Act.SPEAK:
                    self.speaking = True
                case Act.PROVE:
                    self.later(world.dice.uniform(0.01, 0.4), self.prove)
                case Act.HAND_OVER:
                    self.speaking = False
                    self.later(0.1, lambda: self.act(self.own.handed_over(world.now)))

    def claim(self) -> None:
        stream, me = self.world.stream, self.own
        if self.cut:
            self.later(1.0, lambda: self.act(me.claim_failed(self.world.now)))
            return
        if stream.owner != me.owner:
            self.act(me.claim_failed(self.world.now, stream.owner))
            return
        stream.term += 8
        stream.owner = me.member
        self.act(me.taken(stream.term, self.world.now))

        def opened() -> None:
            self.act(me.claimed(self.name, self.world.now))
            self.speaking = me.owns

        self.later(self.world.dice.uniform(0.02, 0.3), opened)

    def prove(self) -> None:
        if self.own.state is not OwnerState.IN_DOUBT:
            return
        if self.cut:
            self.later(0.5, self.prove)
        elif self.world.stream.owner == self.own.member:
            self.act(self.own.proved(self.world.now))
        else:
            self.act(self.own.overtaken(self.world.now, self.world.stream.owner))


@pytest.mark.parametrize("seed", range(40))
def test_there_are_never_two_that_speak_and_soon_one_that_does(seed: int) -> None:
    world = World(seed, "abc")
    dice = world.dice
    for _ in range(60):
        world.run(world.now + dice.uniform(0.05, 4.0))
        player = dice.choice(list(world.members.values()))
        match dice.randrange(6):
            case 0:
                player.paused = True
            case 1:
                if player.paused:
                    player.wake()
            case 2:
                player.dead = True
            case 3:
                if player.dead:
                    player.start()
            case 4:
                player.cut = not player.cut
            case 5:
                player.act(player.own.hand_over("", world.now) if not (player.paused or player.dead) else [])
        world.loss = dice.choice([0.0, 0.0, 0.2])
        world.check()
    world.loss = 0.0
    for player in world.members.values():
        player.cut = False
        if player.dead:
            player.start()
        if player.paused:
            player.wake()
    world.run(world.now + 15)
    assert [each.speaks for each in world.members.values()].count(True) == 1
    # And it stays that one.
    term = world.stream.term
    world.run(world.now + 30)
    assert world.stream.term == term
