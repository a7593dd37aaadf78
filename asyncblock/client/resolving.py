"""How a plan is made of whatever names a flow: a path, an example's name, a flow built in Python, a session's row.

What loads flows is imported within the functions: commands that only follow sessions need none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from ..block import AnyBlock
from ..errors import InvalidFlow, Problem, Rejected, RemoteProtocolError

if TYPE_CHECKING:
    from ..flow import Flow
    from ..flow.plan import Plan

__all__ = ["flow_of", "plan_of", "plan_of_row", "resolve_flow"]


def resolve_flow(
    flow: str | Path | Plan | Flow,
    inputs: Mapping[str, object] | None,
    search_paths: tuple[Path, ...],
    *,
    shape: Callable[[Plan], Plan] | None = None,
    languages: Collection[str] = (),
    compat: str | None = None,
) -> Plan:
    """Make a plan of whatever names a flow. Reads files."""
    from ..flow import Flow, load_flow
    from ..flow.plan import Plan

    if isinstance(flow, (Plan, Flow)):
        plan = plan_of(flow)
        if wrong := plan.input_problems(inputs or {}):
            raise InvalidFlow([Problem(words) for words in wrong])
        return plan
    from ..flow.named import find_flow
    from ..flow.shipped import find, shipped

    path = find(flow) if isinstance(flow, str) and not Path(flow).exists() else None
    named = path or find_flow(flow, lambda: [each.name for each in shipped()])
    return load_flow(named, search_paths=search_paths, inputs=inputs, shape=shape, languages=languages, compat=compat)


def plan_of(flow: Plan | Flow) -> Plan:
    """Return the plan of a flow that isn't in a file. Raises ``InvalidFlow``."""
    from ..flow import Flow

    return flow.plan() if isinstance(flow, Flow) else flow


def flow_of(block: AnyBlock) -> Flow:
    """Return the flow of one block: its inputs are the flow's, and so are its outputs."""
    from ..flow import Flow

    flow = Flow(block.name)
    named = {each["handle"]: each for each in block.inputs_def or ()}
    inputs = {
        name: flow.input(name, **{k: v for k, v in each.items() if k != "handle"}) for name, each in named.items()
    }
    node = flow.node(block, inputs)
    for each in block.outputs_def or ():
        flow.output(each["handle"], node[each["handle"]])
    return flow


def plan_of_row(lines: Sequence[bytes]) -> Plan:
    """Return the plan in the first row of a session's journal."""
    from ..flow.plan import Plan

    try:
        for line in lines:
            entry = orjson.loads(line)
            if entry.get("type") == "SessionStarted":
                return Plan.from_json(entry["plan"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise RemoteProtocolError(f"the session's first row can't be read: {why:.300}") from error
    raise Rejected("the session's first row doesn't hold its plan", code="read")
