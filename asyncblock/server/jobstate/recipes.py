"""Lineage: how var values came to be, for blocks that say ``recompute: true``. What was lost can be made again by it.

A recipe is a job's decision, and which var values its inputs were. It is kept as long as there are values of the job,
or of one that has had some of its values, so that a chain can be made again from its beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ...flow.entries import JobCreated, decision_from_json

__all__ = ["Origin", "Recipe", "Recipes"]

_MOST: Final = 10_000
"""Recipes of a session: a loop of blocks has one more with each round, and what lies that far back isn't made again."""

_SWEEP: Final = 64
"""Recipes from which on they are looked through, each time that they have doubled."""


class Origin(NamedTuple):
    """Which value something was."""

    job_id: str
    attempt: int
    place: int
    handle: str
    ordinal: int
    """Which of the attempt's values on its handle: of two runs that is the same, in whatever order handles come."""
    node_id: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a job's values are made."""

    created: JobCreated
    needs: Mapping[str, Origin]
    """Those of its inputs that are var values, by handle."""


class Recipes:
    """The recipes of a session, by job."""

    def __init__(self) -> None:
        self._recipes: dict[str, Recipe] = {}
        self._sweep_at = _SWEEP

    def keep(self, recipe: Recipe) -> bool:
        """Keep a recipe; tell whether it is time to forget others."""
        self._recipes[recipe.created.job_id] = recipe
        return len(self._recipes) >= self._sweep_at

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._recipes)

    def get(self, job_id: str) -> Recipe | None:
        """Return the recipe of a job's values, if there is one."""
        return self._recipes.get(job_id)

    def sweep(self, living: Iterable[str]) -> None:
        """Forget what nothing has come of that lives: the jobs that are open or have values."""
        waiting = list(living)
        reached = set(waiting)
        while waiting:
            recipe = self._recipes.get(waiting.pop())
            if recipe is not None:
                further = {origin.job_id for origin in recipe.needs.values()} - reached
                reached |= further
                waiting += further
        kept = [(job_id, recipe) for job_id, recipe in self._recipes.items() if job_id in reached]
        self._recipes = dict(kept[-_MOST:])
        self._sweep_at = max(_SWEEP, 2 * len(self._recipes))

    def to_json(self) -> list[list[Any]]:
        """Return the recipes as JSON-ready data."""
        return [
            # A tuple with names isn't JSON.
            [recipe.created.to_json(), {handle: list(origin) for handle, origin in recipe.needs.items()}]
            for recipe in self._recipes.values()
        ]

    def restore(self, entries: Iterable[list[Any]]) -> None:
        """Take over what ``to_json`` gave."""
        for obj, needs in entries:
            created = decision_from_json(obj)
            assert isinstance(created, JobCreated)
            found = {handle: Origin(*origin) for handle, origin in needs.items()}
            self._recipes[created.job_id] = Recipe(created, found)
