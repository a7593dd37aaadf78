"""Who owns a partition, as one member sees it: pure, a clock is handed in. ``members`` acts on what it says.

The owner beats each ``BEAT`` seconds, over core NATS, so that a change of the stream's leader isn't felt. Who hears no
beat for ``PATIENCE`` seconds claims the partition; that two don't have it is the stream's doing (``jetstream.fence``),
and what is written here only keeps them from trying, and an owner that has lost it from speaking:

* An owner believes in itself for ``TRUST`` seconds from a beat of its own that came back to it. When none has, or its
  clock has jumped (it was stopped, or held up), it is *in doubt*: it is silent at once, and speaks again when a write
  of it was stored. As the others wait longer than it trusts itself, it is silent before there is another owner.
* Who hears an owner of a newer term steps down. A term is a number of the stream: later owners have higher ones.
* A member whose clock has jumped, or whose own beats don't come back, has missed what was said: it listens anew.
* A claim names whom it follows. Where another has become the owner meanwhile, that one is listened for.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["BEAT", "PATIENCE", "TRUST", "Act", "Beat", "OwnerState", "Ownership"]

BEAT: Final = 0.25
"""Seconds between two beats."""

PATIENCE: Final = 1.5
"""Seconds without a beat before a member claims."""

TRUST: Final = 1.0
"""Seconds that an owner goes on after its last beat that came back."""

_STAGGER: Final = 0.25
"""Seconds over which those that claim spread."""

_REST: Final = 4 * PATIENCE
"""Seconds that a member which has handed over leaves to the others before it claims again."""

_RELEASED: Final = "released"
_REMEMBERED: Final = 64
"""How many of our own beats are remembered until they come back, with the times when they were sent."""


class OwnerState(enum.Enum):
    """What a member is to a partition. The values are told to people and to programs."""

    STANDBY = "standby"
    CLAIMING = "claiming"
    OPENING = "opening"
    OWNER = "owner"
    IN_DOUBT = "in doubt"
    HANDING_OVER = "handing over"


class Act(enum.Enum):
    """What is to be done, in order."""

    BEAT = enum.auto()
    """Tell the others what we are."""
    CLAIM = enum.auto()
    """Take the partition over; ``claimed`` or ``claim_failed`` follows."""
    SILENCE = enum.auto()
    """Cut all connections and let none in."""
    PROVE = enum.auto()
    """Store something; ``proved`` or ``overtaken`` follows."""
    SPEAK = enum.auto()
    """Let them in again."""
    STEP_DOWN = enum.auto()
    """Let go of everything; nothing more can be stored."""
    HAND_OVER = enum.auto()
    """Store what is queued and let go; ``handed_over`` follows."""
    RELEASE = enum.auto()
    """Tell the others that it is free."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What a member tells the others."""

    member: str
    state: str
    """That of the member, or ``released``."""
    term: int
    count: int
    """Counts the member's beats."""
    address: str = ""
    """Where clients reach it."""
    to: str = ""
    """Who shall take what was released; empty for anybody."""


class Ownership:
    """The state of one member and one partition. Each method takes the time and returns what is to be done."""

    def __init__(self, member: str, now: float, chance: Callable[[], float], owner: str = "") -> None:
        """Begin to stand by; ``owner`` is who owned it last, as the stream says."""
        self.member = member
        self.state = OwnerState.STANDBY
        self.term = 0
        """Our own, as the owner; else the newest that was heard."""
        self.owner = owner
        """The member that owns it, as far as is known."""
        self.address = ""
        """Where that one is."""
        self.to = ""
        """Who shall take over from us."""
        self.deferral = 0.0
        """Seconds that we leave a partition without an owner to the member that should own it, before we claim it."""
        self._chance = chance
        self._ticked = now
        self._jumped = False
        self._listen(now)
        self._count = 0
        self._sent: dict[int, float] = {}
        self._echoed = now

    @property
    def owns(self) -> bool:
        """Tell whether it is ours, and may be spoken for."""
        return self.state is OwnerState.OWNER

    def beat(self, address: str, now: float) -> Beat:
        """Return what is to be told."""
        self._count += 1
        self._sent[self._count] = now
        while len(self._sent) > _REMEMBERED:
            del self._sent[next(iter(self._sent))]
        return Beat(self.member, self.state.value, self.term, self._count, address)

    def released(self, address: str) -> Beat:
        """Return what is told of a partition that was let go."""
        self._count += 1
        return Beat(self.member, _RELEASED, self.term, self._count, address, self.to)

    # ------------------------------------------------------------------ what happens

    def tick(self, now: float) -> list[Act]:
        """Time has gone on: to be called each ``BEAT`` seconds."""
        late, self._ticked = now - self._ticked >= TRUST, now
        match self.state:
            case OwnerState.STANDBY if late or now - self._echoed >= TRUST:
                # What was said meanwhile comes only now, or never.
                self._listen(now)
            case OwnerState.STANDBY if now >= self._claim_at + self.deferral:
                self.state, self._jumped = OwnerState.CLAIMING, False
                return [Act.BEAT, Act.CLAIM]
            case OwnerState.OWNER if late or now - self._echoed >= TRUST:
                self.state = OwnerState.IN_DOUBT
                return [Act.SILENCE, Act.BEAT, Act.PROVE]
            case OwnerState.CLAIMING | OwnerState.OPENING:
                self._jumped |= late
        return [Act.BEAT]

    def heard(self, beat: Beat, now: float) -> list[Act]:
        """A beat has come: another's, or our own."""
        if beat.member == self.member:
            self._echoed = max(self._echoed, self._sent.pop(beat.count, 0.0))
            return []
        if beat.state == OwnerState.CLAIMING.value:
            if self.state is OwnerState.STANDBY:
                self._listen(now)
            return []
        if beat.state == OwnerState.STANDBY.value or beat.term < self.term:
            # Who has lost it and doesn't know yet says less than we know.
            return []
        if self.state not in (OwnerState.STANDBY, OwnerState.CLAIMING):
            if beat.term == self.term:
                return []
            self._follow(beat, now)
            return [Act.STEP_DOWN]
        if beat.state != _RELEASED:
            if self.state is OwnerState.STANDBY:
                self._follow(beat, now)
            else:
                # Our claim ends by itself.
                self.term, self.owner, self.address = beat.term, beat.member, beat.address
            return []
        self.term, self.owner, self.address = beat.term, beat.member, ""
        if self.state is OwnerState.CLAIMING or beat.to not in ("", self.member):
            self._listen(now)
            return []
        # Meant for us, or for any member: there is none to wait for.
        self._claim_at = now - self.deferral
        return self.tick(now)

    def taken(self, term: int, now: float) -> list[Act]:
        """The partition was taken over; what it holds is being read."""
        if self.state is not OwnerState.CLAIMING:
            return [Act.BEAT]
        if term < self.term:
            # Another has taken it over since, and was heard already.
            self.state = OwnerState.STANDBY
            self._listen(now)
            return [Act.STEP_DOWN]
        self.state, self.term = OwnerState.OPENING, term
        return [Act.BEAT]

    def claimed(self, address: str, now: float) -> list[Act]:
        """What the partition holds is read; it is ours, or was when it was taken over."""
        if self.state is not OwnerState.OPENING:
            # A newer owner was heard meanwhile.
            self.state = OwnerState.STANDBY
            self._listen(now)
            return [Act.STEP_DOWN]
        self.owner, self.address = self.member, address
        jumped, self._jumped = self._jumped or now - self._ticked >= TRUST, False
        self._echoed = self._ticked = now
        if jumped:
            # Taken over before the clock jumped; others may have done so since.
            self.state = OwnerState.IN_DOUBT
            return [Act.SILENCE, Act.BEAT, Act.PROVE]
        self.state = OwnerState.OWNER
        return [Act.BEAT]

    def claim_failed(self, now: float, owner: str = "") -> list[Act]:
        """Another member was faster, or the servers don't answer."""
        if self.state in (OwnerState.CLAIMING, OwnerState.OPENING):
            self.state = OwnerState.STANDBY
            self.owner = owner or self.owner
            self._listen(now)
        return []

    def proved(self, now: float) -> list[Act]:
        """A write was stored, which began after the doubt."""
        if self.state is not OwnerState.IN_DOUBT:
            return []
        self.state = OwnerState.OWNER
        self._echoed = now
        return [Act.SPEAK, Act.BEAT]

    def overtaken(self, now: float, owner: str) -> list[Act]:
        """Another member owns it: the stream says so."""
        if self.state in (OwnerState.STANDBY, OwnerState.CLAIMING):
            return []
        self.state = OwnerState.STANDBY
        self.owner, self.address = owner, ""
        self._listen(now)
        return [Act.STEP_DOWN]

    def hand_over(self, to: str, now: float) -> list[Act]:
        """Somebody asks that another one takes over; ``to`` may be empty."""
        if self.state is not OwnerState.OWNER:
            return []
        self.state, self.to = OwnerState.HANDING_OVER, to
        return [Act.HAND_OVER]

    def handed_over(self, now: float) -> list[Act]:
        """Everything is stored, and nothing more will be."""
        if self.state is not OwnerState.HANDING_OVER:
            return []
        self.state = OwnerState.STANDBY
        self.address = ""
        self._claim_at = now + _REST
        return [Act.RELEASE]

    # ------------------------------------------------------------------

    def _follow(self, beat: Beat, now: float) -> None:
        self.state = OwnerState.STANDBY
        self.term, self.owner, self.address = beat.term, beat.member, beat.address
        self._listen(now)

    def _listen(self, now: float) -> None:
        self._claim_at = now + PATIENCE + _STAGGER * self._chance()
