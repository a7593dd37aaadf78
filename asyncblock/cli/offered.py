"""``--offers`` and ``--label``: the resources of the executors that a command starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import typer

from ..childprocesses.hostmemory import memory_limit
from ..errors import InvalidFlow, Problem
from ..flow.needed import tasks_of, unoffered
from ..flow.plan import Plan
from ..resources import LABELS, Resources, needs_problem, offers_of, offers_problem

__all__ = ["Offered"]


@dataclass(frozen=True, slots=True)
class Offered:
    """What is offered, as the command line says it."""

    offers: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()

    @classmethod
    def read(cls, pairs: Sequence[str], labels: Sequence[str]) -> Offered:
        """Read the options. Raises ``BadParameter`` for what can't be offered."""
        offers: dict[str, Any] = {}
        for pair in pairs:
            for each in pair.split(","):
                name, found, amount = each.partition("=")
                if not found or not name.strip():
                    raise typer.BadParameter(f"{each!r} isn't NAME=AMOUNT: gpu=2, memory=16GiB", param_hint="--offers")
                offers[name.strip()] = amount.strip()
        if (problem := offers_problem(offers)) is not None:
            raise typer.BadParameter(problem, param_hint="--offers")
        told = tuple(name.strip() for each in labels for name in each.split(","))
        if (problem := needs_problem({LABELS: told}, "offers")) is not None:
            raise typer.BadParameter(problem, param_hint="--label")
        return cls(offers, told)

    def __str__(self) -> str:
        """In words; "" where nothing is said."""
        amounts = (f"{name}={each}" for name, each in self.offers.items())
        return ", ".join([*amounts, *(f"label {each}" for each in self.labels)])

    def or_of_run(self, directory: Any) -> Offered:
        """Return what was given, or else what an earlier run in a data directory has offered."""

        from ..inprocess.runs import offers_of_run

        return self if self.offers or self.labels else Offered(*offers_of_run(directory))

    def check(self, plan: Plan) -> None:
        """Raise ``InvalidFlow`` for a plan that is to run here alone and needs what isn't offered here."""
        have = Resources.of(offers_of(self.offers, self.labels, memory_limit()))
        problems = []
        for name, node in tasks_of(plan):
            needs, lack = Resources.of(node.block.get("needs")), unoffered(dict(node.block), [have])
            if lack is not None:
                words = f"node {name!r} needs {needs}, and this run doesn't offer {lack}; if it is here, say so: "
                problems.append(Problem(f"{words}{lack.as_options()}", plan.path))
        if problems:
            raise InvalidFlow(problems)
