"""Parts of a flow from the command line (``--nodes``, ``--nodes-inputs``), and the cache (``--use-cache`` and so on).

A run with ``--use-cache`` also remembers the flow's inputs, by flow file: the next such run need not say again those
that are required. What is given goes above them, and what was taken from them is told.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import typer

from ..errors import Problem
from ..flow.cached import refreshed, with_cache, without_cache
from ..flow.partial import only_nodes, with_node_inputs
from ..flow.plan import Plan
from ..server.journal.datadir import default_data_dir
from .typedvalues import parse_object

__all__ = ["PartialRun", "remember_inputs"]

_SHOWN = 60
"""Characters of an input that are told."""


@dataclass(frozen=True, slots=True)
class PartialRun:
    """What of a flow is to be run, with which inputs of its nodes, and what of it may come from the cache."""

    nodes: tuple[str, ...] = ()
    """Empty for all."""
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    use_cache: bool | None = None
    """None: for those blocks that say so."""
    refresh: tuple[str, ...] = ()
    given: frozenset[str] = frozenset()
    """The flow's inputs that the command names."""

    @classmethod
    def read(
        cls,
        nodes: str | None,
        inputs: str | None,
        *,
        use_cache: bool | None = None,
        refresh: tuple[str, ...] = (),
        given: Mapping[str, Any] | None = None,
    ) -> PartialRun:
        """Read the options."""
        found = parse_object(inputs, "--nodes-inputs")
        for name, values in found.items():
            if not isinstance(values, dict):
                raise typer.BadParameter(f"node {name!r}: its inputs are an object", param_hint="--nodes-inputs")
        if refresh and use_cache is False:
            raise typer.BadParameter("--no-cache keeps nothing, so there is nothing to refresh", param_hint="--refresh")
        anew = tuple(each for name in refresh for each in _names(name))
        return cls(_names(nodes or ""), found, use_cache, anew, frozenset(given or ()))

    def shape(self, plan: Plan) -> Plan:
        """Return the part of a plan that is to be run."""
        if self.use_cache is not None:
            plan = with_cache(plan) if self.use_cache else without_cache(plan)
        if self.use_cache:
            plan = _with_last_inputs(plan, self.given)
        if self.refresh:
            plan = refreshed(plan, self.refresh)
        if self.inputs:
            plan = with_node_inputs(plan, self.inputs)
        return only_nodes(plan, self.nodes) if self.nodes else plan


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _with_last_inputs(plan: Plan, given: frozenset[str]) -> Plan:
    """Fill a flow's required inputs with the values of the last run with the cache, and say so."""
    last = _last_inputs(plan)
    definitions = []
    warnings = list(plan.warnings)
    for each in plan.inputs_def:
        name = each["handle"]
        if name in last and name not in given and "value" not in each and not each.get("nullable"):
            each = {**each, "value": last[name]}
            text = orjson.dumps(last[name]).decode()
            shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
            warnings.append(Problem(f"input {name!r} is {shown}, as in the last run with --use-cache", plan.path))
        definitions.append(each)
    return replace(plan, inputs_def=tuple(definitions), warnings=tuple(warnings))


def _file_of(plan: Plan) -> Path:
    name = hashlib.sha256(str(plan.path).encode()).hexdigest()[:24]
    return default_data_dir() / "inputs" / f"{name}.json"


def _last_inputs(plan: Plan) -> dict[str, Any]:
    try:
        found = orjson.loads(_file_of(plan).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    inputs = found.get("inputs") if isinstance(found, dict) else None
    return inputs if isinstance(inputs, dict) else {}


def remember_inputs(plan: Plan, inputs: Mapping[str, Any]) -> None:
    """Remember a flow's inputs for the next run with the cache, in a file. If that fails, they aren't remembered."""
    with suppress(OSError, TypeError):
        file = _file_of(plan)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = file.with_suffix(f".{os.getpid()}.new")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as out:
            out.write(orjson.dumps({"path": plan.path, "inputs": plan.input_values(inputs)}))
        fresh.replace(file)
