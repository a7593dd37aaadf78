"""Resources: what blocks need of the place where they run, and what executors offer of it.

A resource is a name with an amount, of which running jobs take their part: ``memory`` in bytes, ``gpu``, a licence. A
label is there or not. What the names mean nobody here knows: an operator says what is offered.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

__all__ = ["LABELS", "MEMORY", "NOTHING", "Resources", "needs_of", "needs_problem", "offers_of", "offers_problem"]

LABELS: Final = "labels"
"""Beside the names of resources: a list of labels."""

MEMORY: Final = "memory"
"""In bytes. What an executor that says nothing of it offers is what its machine, or control group, has."""

_MOST: Final = 32
"""Resources, and labels, of a block or an executor."""

_GREATEST: Final = 1 << 53
_PARTS: Final = 1000
"""Amounts are counted in thousandths, so that three thirds of a GPU never come to more than one."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?(?:([KMGT])i?B?)?")
_UNITS: Final = {None: 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_NUMBER: Final = "a number above 0, or for bytes a size: 512MiB, 4GiB"


class Resources(NamedTuple):
    """Amounts and labels: of a block what it needs, of an executor what it offers."""

    amounts: tuple[tuple[str, int], ...] = ()
    """Thousandths by name, sorted."""
    labels: frozenset[str] = frozenset()

    @classmethod
    def of(cls, found: Mapping[str, Any] | None) -> Resources:
        """Read what ``needs_of`` or ``offers_of`` has made, or came over the wire and was checked."""
        if not found:
            return NOTHING
        amounts = {name: math.ceil(each * _PARTS) for name, each in found.items() if name != LABELS}
        return cls(tuple(sorted(amounts.items())), frozenset(found.get(LABELS, ())))

    def __bool__(self) -> bool:
        return bool(self.amounts or self.labels)

    def to_json(self) -> dict[str, Any]:
        """Return what ``of`` reads."""
        made: dict[str, Any] = {
            name: each // _PARTS if each % _PARTS == 0 else each / _PARTS for name, each in self.amounts
        }
        return {**made, LABELS: sorted(self.labels)} if self.labels else made

    def lacks(self, offered: Resources) -> Resources:
        """Return what of this isn't offered at all, or not as much."""
        there = dict(offered.amounts)
        amounts = tuple((name, each) for name, each in self.amounts if each > there.get(name, 0))
        return Resources(amounts, self.labels - offered.labels)

    def beyond(self, other: Resources) -> Resources:
        """Return what is left of these amounts when those of another one count too."""
        there = dict(other.amounts)
        left = ((name, each - there.get(name, 0)) for name, each in self.amounts)
        return Resources(tuple((name, each) for name, each in left if each > 0), self.labels)

    def at_least(self, other: Resources) -> Resources:
        """Return the greater one of each amount."""
        greatest = dict(other.amounts)
        for name, each in self.amounts:
            greatest[name] = max(each, greatest.get(name, 0))
        return Resources(tuple(sorted(greatest.items())), self.labels | other.labels)

    def __str__(self) -> str:
        """In words, as options say it: ``gpu=2, memory=4 GiB, label fast-disk``."""
        parts = [f"{name}={shown(name, each)}" for name, each in self.amounts]
        return ", ".join([*parts, *(f"label {each}" for each in sorted(self.labels))])

    def as_options(self) -> str:
        """Return the options by which an executor offers this."""
        parts = [f"--offers {name}={shown(name, each).replace(' ', '')}" for name, each in self.amounts]
        return " ".join([*parts, *(f"--label {each}" for each in sorted(self.labels))])


NOTHING: Final = Resources()


def shown(name: str, thousandths: int) -> str:
    """Return an amount as people read it."""
    amount = thousandths / _PARTS
    if name == MEMORY:
        for unit, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if amount >= size:
                return f"{round(amount / size, 2):g} {unit}"
    return f"{amount:.12g}"


# ---------------------------------------------------------------------- what is written


def needs_problem(found: object, word: str = "needs") -> str | None:
    """Say what is wrong with a block's ``needs``, or an executor's offers; None when nothing is."""
    if found is None:
        return None
    if not isinstance(found, Mapping):
        return f"{word!r} is a mapping: how much of each resource, and {LABELS!r}; not {found!r:.80}"
    if len(found) > _MOST:
        return f"{word!r} names {len(found)} resources, {_MOST} at most may be"
    for name, value in found.items():
        if name == LABELS:
            if isinstance(value, str) or not isinstance(value, Sequence) or len(value) > _MOST:
                return f"{LABELS!r} in {word!r} is a list of up to {_MOST} names, not {value!r:.80}"
            for label in value:
                if not _is_name(label):
                    return f"{LABELS!r} in {word!r} has {label!r:.80}: {_ALLOWED}"
        elif not _is_name(name):
            return f"{word!r} has {name!r:.80}: {_ALLOWED}"
        elif _amount(value) is None:
            meant = difflib.get_close_matches(name, [LABELS], 1, 0.8)
            hint = f". Did you mean {meant[0]!r}?" if meant else ""
            return f"{name!r} in {word!r} is {_NUMBER}; not {value!r:.80}{hint}"
    return None


_ALLOWED: Final = "a name is up to 100 letters, digits, '_', '-' and '.', and begins with no digit"


def needs_of(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a block's ``needs`` as they stand in a plan: numbers and a list. They are right by ``needs_problem``."""
    if not found:
        return None
    amounts = {name: _amount(value) for name, value in found.items() if name != LABELS}
    labels = sorted(set(found.get(LABELS) or ()))
    return {**amounts, **({LABELS: labels} if labels else {})} or None


def offers_problem(offers: Mapping[str, Any]) -> str | None:
    """Say what is wrong with what an executor offers; 0 is none of it."""
    return needs_problem({name: each for name, each in offers.items() if not _is_zero(each)}, "offers")


def offers_of(offers: Mapping[str, Any], labels: Iterable[str], memory: int) -> dict[str, Any]:
    """Return what an executor announces: what is said, and its memory where nothing is said of it."""
    made = {name: 0 if _is_zero(value) else _amount(value) for name, value in offers.items() if name != LABELS}
    made.setdefault(MEMORY, memory)
    told = sorted({*labels, *offers.get(LABELS, ())})
    return {**{name: each for name, each in made.items() if each}, **({LABELS: told} if told else {})}


def size_of(text: str) -> int | None:
    """Return the bytes that a size like ``50GiB`` says; None for what is none."""
    found = _amount(text)
    return found if isinstance(found, int) else None


def _is_name(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _is_zero(value: object) -> bool:
    return not isinstance(value, bool) and value in (0, "0")


def _amount(value: object) -> int | float | None:
    """Return the number that an amount is, None for what is none: above 0, and no more than JSON's numbers hold."""
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            return None
        number = float(match[1]) * _UNITS[match[2]]
        value = int(number) if number.is_integer() else number
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if 0 < value <= _GREATEST else None
