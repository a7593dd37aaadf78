"""Groups: nodes joined by var edges, transitively, whose jobs run where their values are.

Most values live in the process that made them; portable ones can be had in every process of its host. A node *roams*
whose jobs may run in any process that can have their inputs: nothing that comes of them, directly or through other
nodes, meets another var value in one job. The others share an executor until their values have proved portable, for
two values that can't be moved and are in two processes would never meet. Services have a process of their own choice.

A var value is followed from the block that puts it out through conditions, into subflows and slots and out of them
again. Nodes that it joins within one flow are a group in each run of the flow; a group that goes beyond its flow, or
that is a service's, is one for the whole session (its name begins with ``*``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import replace
from typing import Any, Final

from .plan import REMEMBERED, FlowPlan, NodePlan, Plan

__all__ = ["with_groups"]

VAR: Final = "oomol/var"

Complain = Callable[[str | None, str, str], None]
At = tuple[str | None, str, str]
"""A task: its flow, its node, and the slot that it provides for, or nothing."""
Place = tuple[str, str | None, str, str]
"""A place that values pass: ``in`` or ``out`` of a node, ``fin`` or ``fout`` of a flow (its node is ""), and the
handle."""


def with_groups(plan: Plan, complain: Complain) -> Plan:
    """Return the plan with its groups; ``complain(flow, node_id, message)`` hears of var edges that can't work."""
    tasks = dict(_tasks(plan))
    union = _Union()
    for at, task in tasks.items():
        if "service" in task.block:
            union.join(_Service((str(task.block.get("hash")), str(task.block.get("dir")))), at)
    producers = [(at, handle) for at, task in tasks.items() for handle in _var_outputs(task)]
    meets = _Meets()
    if producers:
        edges = _Edges(plan)
        for at, handle in producers:
            for consumer, name in edges.consumers(at, handle):
                meets.note(at, consumer, name)
                if consumer != at:
                    _check_spawn((at, tasks[at]), (consumer, tasks[consumer]), name, complain)
                    union.join(at, consumer)
    names = union.names()
    bound = meets.bound()
    return replace(
        plan,
        nodes=_named(plan, None, names, bound),
        flows={key: replace(flow, nodes=_named(flow, key, names, bound)) for key, flow in plan.flows.items()},
    )


class _Meets:
    """Which tasks put out what meets another var value."""

    def __init__(self) -> None:
        self._handles: dict[At, set[str]] = {}
        """The inputs of each task that var values come to."""
        self._producers: dict[At, set[At]] = {}

    def note(self, producer: At, consumer: At, handle: str) -> None:
        """Take in that a value goes from one task to another."""
        self._handles.setdefault(consumer, set()).add(handle)
        self._producers.setdefault(consumer, set()).add(producer)

    def bound(self) -> set[At]:
        """Return those before a task that takes two, however far."""
        todo = [task for task, handles in self._handles.items() if len(handles) > 1]
        found: set[At] = set()
        while todo:
            for producer in self._producers.get(todo.pop(), ()):
                if producer not in found:
                    found.add(producer)
                    todo.append(producer)
        return found


def _tasks(plan: Plan) -> Iterator[tuple[At, NodePlan]]:
    for key in (None, *plan.flows):
        for node in plan.flow(key).nodes:
            if node.kind == "task":
                yield (key, node.node_id, ""), node
            for slot, provider in node.slots.items():
                if provider.kind == "task":
                    yield (key, node.node_id, slot), provider


def _named(flow: FlowPlan, key: str | None, names: Mapping[At, str], bound: Set[At]) -> tuple[NodePlan, ...]:
    def one(node: NodePlan, at: At) -> NodePlan:
        group = names.get(at)
        if group is None:
            return node
        return replace(node, group=group, roams="service" not in node.block and at not in bound)

    made = []
    for node in flow.nodes:
        slots = {slot: one(each, (key, node.node_id, slot)) for slot, each in node.slots.items()}
        named = one(node, (key, node.node_id, ""))
        made.append(named if not slots else replace(named, slots=slots))
    return tuple(made)


class _Union:
    """Sets of tasks that share a process."""

    def __init__(self) -> None:
        self._parent: dict[Any, Any] = {}

    def _find(self, item: Any) -> Any:
        self._parent.setdefault(item, item)
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def join(self, first: Any, second: Any) -> None:
        """Put two into one set."""
        self._parent[self._find(second)] = self._find(first)

    def names(self) -> dict[At, str]:
        """Return the group of each task that is in a set."""
        members: dict[Any, list[Any]] = {}
        for item in self._parent:
            members.setdefault(self._find(item), []).append(item)
        names: dict[At, str] = {}
        for found in members.values():
            tasks = [item for item in found if not isinstance(item, _Service)]
            # A provider's task runs in the flow of its slot, so its group is never that of one flow alone.
            beyond = len(tasks) < len(found) or len({item[0] for item in tasks}) > 1 or any(item[2] for item in tasks)
            first = min(tasks, key=lambda item: tuple(str(part or "") for part in item))
            name = "/".join(str(part) for part in first if part)
            names.update(dict.fromkeys(tasks, f"*{name}" if beyond else name))
        return names


class _Service(tuple[str, str]):
    """Stands for a service's process among the tasks."""


class _Edges:
    """Where values go, through every flow of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._users: dict[str, list[tuple[str | None, str, str]]] = {}
        """For each flow the nodes that run it: flow, node, and the slot that it is provided for, or nothing."""
        for key in (None, *plan.flows):
            for node in plan.flow(key).nodes:
                if node.kind == "subflow" and node.flow is not None:
                    self._users.setdefault(node.flow, []).append((key, node.node_id, ""))
                for slot, provider in node.slots.items():
                    if provider.kind == "subflow" and provider.flow is not None:
                        self._users.setdefault(provider.flow, []).append((key, node.node_id, slot))

    def consumers(self, at: At, handle: str) -> Iterator[tuple[At, str]]:
        """Yield the tasks that a value can come to, each with its input handle."""
        todo: list[Place] = list(self._out_of(at, handle))
        seen: set[Place] = set()
        while todo:
            place = todo.pop()
            if place in seen:
                continue
            seen.add(place)
            kind, key, node_id, name = place
            if kind == "out":
                todo += self._from(key, node_id, name)
            elif kind == "fin":
                todo += self._from(key, None, name)
            elif kind == "fout":
                for user in self._users.get(str(key), ()):
                    todo += self._out_of(user, name)
            else:
                yield from self._into(key, self._plan.flow(key).node(node_id), name, todo)

    def _from(self, key: str | None, node_id: str | None, handle: str) -> Iterator[Place]:
        for target in self._plan.flow(key).targets.get((node_id, handle), ()):
            kind = "fout" if target.node_id is None else "in"
            yield kind, key, target.node_id or "", target.handle

    def _out_of(self, at: At, handle: str) -> Iterator[Place]:
        """A provider's outputs are those of the slot node in the flow that the subflow node runs."""
        key, node_id, slot = at
        if slot:
            key, node_id = self._plan.flow(key).node(node_id).flow, slot
        yield ("out", key, node_id, handle)

    def _into(self, key: str | None, node: NodePlan, handle: str, todo: list[Place]) -> Iterator[tuple[At, str]]:
        if node.kind == "task":
            yield (key, node.node_id, ""), handle
        elif node.kind == "condition":
            if handle == next(iter(node.inputs), None):
                cases = (*node.block.get("cases", ()), node.block.get("default") or {})
                todo += [("out", key, node.node_id, str(case["handle"])) for case in cases if "handle" in case]
        elif node.kind == "subflow":
            slot, further, name = handle.partition(REMEMBERED)
            if further:
                yield from self._into_provider((key, node.node_id, slot), name, todo)
            elif node.flow is not None:
                todo.append(("fin", node.flow, "", handle))
        elif node.kind == "slot":
            for user in self._users.get(str(key), ()):
                if not user[2] and node.node_id in self._plan.flow(user[0]).node(user[1]).slots:
                    yield from self._into_provider((user[0], user[1], node.node_id), handle, todo)

    def _into_provider(self, at: At, handle: str, todo: list[Place]) -> Iterator[tuple[At, str]]:
        provider = self._plan.flow(at[0]).node(at[1]).slots.get(at[2])
        if provider is None:
            return
        if provider.kind == "task":
            yield at, handle
        elif provider.flow is not None:
            todo.append(("fin", provider.flow, "", handle))


def _var_outputs(task: NodePlan) -> Iterator[str]:
    for each in task.block.get("outputs_def") or ():
        schema = each.get("json_schema") if isinstance(each, Mapping) else None
        if isinstance(schema, Mapping) and schema.get("contentMediaType") == VAR:
            yield each["handle"]


def _check_spawn(producer: tuple[At, NodePlan], consumer: tuple[At, NodePlan], handle: str, complain: Complain) -> None:
    (key, node_id, _), task = producer
    if task.block.get("spawn"):
        complain(
            key,
            node_id,
            f"node {node_id!r} has a process of its own (spawn: true), which ends with its job: no var value of it can "
            f"come to input {handle!r} of {consumer[0][1]!r}",
        )
