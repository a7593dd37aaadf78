"""The flows that can be started from the page: those that come with asyncblock, and those in directories that the
command was given.

A browser names one by a key of its list, never by a path: nothing else is read for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from ..client import Mainframe
from ..errors import InvalidFlow, Unavailable
from ..flow import load_flow
from ..flow.lookup import FLOW_FILES, flow_file
from ..flow.plan import Plan
from ..flow.shipped import shipped
from ..flow.yamlfile import read_yaml
from ..runtime.offload import run_in_thread
from .inputforms import fields_of, read_form

__all__ = ["Startable"]

_MOST: Final = 500
"""Flows that are listed."""

_WORDS: Final = 400
"""Characters that are said about one."""


@dataclass(frozen=True, slots=True)
class _Offer:
    key: str
    title: str
    about: str
    place: str
    """Where it is, for people."""
    path: Path


class Startable:
    """Flows on this machine, for a mainframe. They are read anew each time: somebody may be editing them."""

    def __init__(self, mainframe: Mainframe, directories: Sequence[Path] = ()) -> None:
        self._mainframe = mainframe
        self._directories = tuple(directories)

    async def listed(self) -> list[dict[str, str]]:
        """Return what there is. **Cancellation** is safe."""
        found = await run_in_thread(self._offers)
        return [{"key": each.key, "title": each.title, "about": each.about, "place": each.place} for each in found]

    async def form(self, key: str) -> dict[str, Any]:
        """Return the fields of a flow's inputs, with their defaults.

        **Cancellation** is safe. Raises ``Unavailable`` where there is no such flow, ``InvalidFlow``.
        """
        offer, plan = await self._plan(key)
        return {"title": offer.title, "about": offer.about, "fields": fields_of(plan, {})}

    async def start(self, key: str, sent: Mapping[str, Any]) -> str:
        """Start a flow with what a form has sent, and return the session's id.

        **Durability** and **Cancellation** as ``Mainframe.start``. Raises ``InvalidInputs`` naming the field, and as
        ``form``.
        """
        _, plan = await self._plan(key)
        session = await self._mainframe.start(plan, read_form(plan, {}, sent))
        return session.session_id

    async def _plan(self, key: str) -> tuple[_Offer, Plan]:
        offers = {each.key: each for each in await run_in_thread(self._offers)}
        if key not in offers:
            raise Unavailable("there is no such flow any more; open the list again")
        offer = offers[key]
        return offer, await self._mainframe.resolve(lambda languages: _without_inputs(offer.path, languages))

    def _offers(self) -> list[_Offer]:
        found: dict[Path, _Offer] = {}
        for directory in self._directories:
            for path in _flows_in(directory):
                if len(found) == _MOST:
                    break
                found.setdefault(path.resolve(), _offer(path, str(path.parent)))
        for example in shipped():
            found.setdefault(example.flow.resolve(), _offer(example.flow, f"example {example.name}"))
        return list(found.values())


def _without_inputs(path: Path, languages: Collection[str]) -> Plan:
    """Make a plan of a flow before its inputs are given."""
    made: list[Plan] = []

    def keep(plan: Plan) -> Plan:
        made.append(plan)
        return plan

    try:
        return load_flow(path, languages=languages, shape=keep)
    except InvalidFlow as error:
        if made and all(each.code == "input" for each in error.problems):
            return made[0]
        raise


def _flows_in(directory: Path) -> Iterator[Path]:
    """Find the flows of a package, and of packages that lie beside each other."""
    beside = sorted(
        each.parent for name in ("package.oo.yaml", "package.oo.yml") for each in directory.glob(f"*/{name}")
    )
    for package in dict.fromkeys((directory, *beside)):
        if (own := flow_file(package)) is not None:
            yield own
        for name in FLOW_FILES:
            yield from sorted(package.glob(f"flows/*/{name}"))


def _offer(path: Path, place: str) -> _Offer:
    described, _ = read_yaml(path)
    said = described if isinstance(described, Mapping) else {}
    title = str(said.get("title") or path.parent.name)
    about = str(said.get("description") or "") if said else "This file can't be read as a flow."
    key = sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return _Offer(key, title[:_WORDS], about[:_WORDS], place, path)
