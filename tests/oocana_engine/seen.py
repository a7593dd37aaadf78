"""What a run of a flow has shown on the topic ``report``, in a form in which runs can be compared."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

__all__ = ["Seen", "differences", "plain"]

_TYPE = "__OOMOL_TYPE__"

_ENDS = ("BlockFinished", "SubflowBlockFinished", "SlotflowBlockFinished", "SlotflowFinished")
_OUTPUTS = ("BlockOutput", "SubflowBlockOutput", "SlotflowOutput", "SlotflowBlockOutput")

_PASSING = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?"), "<time>"),
)
"""What no two runs have in common."""


@dataclass(slots=True)
class Seen:
    """One run: its jobs by node, and its end."""

    error: str | None = None
    ended: bool = False
    jobs: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Ids of jobs, by their node's path."""
    flows: set[str] = field(default_factory=set)
    """Nodes that are flows within the flow."""
    inputs: dict[str, Any] = field(default_factory=dict)
    """What jobs were given, by their ids, where that is told."""
    outputs: dict[str, list[tuple[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    """Handles and values, in their order, by node."""
    failed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Errors of jobs, by node."""
    messages: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    """What blocks have said by ``send_message``, by the last name of their node."""
    warnings: list[str] = field(default_factory=list)
    flow_outputs: dict[str, Any] = field(default_factory=dict)
    """The last value of each output of the outermost subflow."""

    @classmethod
    def of(cls, messages: Iterable[Mapping[str, Any]], places: Mapping[str, str]) -> Seen:
        """Read the messages of one session; ``places`` are directories that differ between runs, and their names."""
        seen = cls()
        for message in messages:
            seen._take(message, places)
        return seen

    def _take(self, message: Mapping[str, Any], places: Mapping[str, str]) -> None:
        kind, job = message["type"], str(message.get("job_id"))
        node = "/".join(str(level.get("node_id")) for level in message.get("stacks") or ())
        match kind:
            case "SessionFinished":
                self.ended, self.error = True, message.get("error")
            case "BlockStarted":
                self.jobs[node].append(job)
                self.inputs[job] = plain(message.get("inputs") or {}, places)
            case "SubflowBlockStarted" | "SlotflowStarted" | "SlotflowBlockStarted":
                self.jobs[node].append(job)
                self.flows.add(node)
            case "BlockOutputs":
                self._put_out(node, message["outputs"], places)
            case "BlockMessage":
                self.messages[node.rpartition("/")[2]].append(plain(message["payload"], places))
            case "BlockWarning":
                self.warnings.append(str(message["warning"]))
            case _ if kind in _OUTPUTS:
                self._put_out(node, {message["handle"]: message["output"]}, places)
                if kind.startswith("Subflow") and "/" not in node:
                    self.flow_outputs[message["handle"]] = message["output"]
            case _ if kind in _ENDS:
                self._put_out(node, message.get("result") or {}, places)
                if message.get("error") is not None:
                    self.failed[node].append(str(message["error"]))

    def _put_out(self, node: str, values: Mapping[str, Any], places: Mapping[str, str]) -> None:
        self.outputs[node] += [(handle, plain(value, places)) for handle, value in values.items()]


def plain(value: Any, places: Mapping[str, str]) -> Any:
    """Return a value without what no two runs have in common: ids, times, directories, keys of the var store."""
    if isinstance(value, dict):
        if _TYPE in value:
            return {_TYPE: value[_TYPE]}
        return {key: plain(each, places) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each, places) for each in value]
    if isinstance(value, str):
        for place, name in places.items():
            value = value.replace(place, name)
        for passing, name in _PASSING:
            value = passing.sub(name, value)
    elif isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def differences(wanted: Seen, found: Seen, *, whole: bool = True) -> list[str]:
    """Say how a run differs from another one: in jobs, in what they were given, put out and ended by.

    Not ``whole`` where one of them is ours, which tells neither what jobs were given nor what subflows put out.
    """
    said = [] if found.ended else ["it has no end"]
    if (wanted.error is None) is not (found.error is None):
        said.append(f"its end is {_end(found.error)}, not {_end(wanted.error)}")
    for node in sorted({*wanted.jobs, *found.jobs}):
        here, there = len(found.jobs.get(node, ())), len(wanted.jobs.get(node, ()))
        if here != there:
            said.append(f"{node}: {here} jobs, not {there}")
        if whole:
            given = [[run.inputs.get(job, {}) for job in run.jobs.get(node, ())] for run in (found, wanted)]
            said += _other(f"{node}: inputs", *given)
        if whole or node not in wanted.flows:
            said += _other(f"{node}: outputs", found.outputs.get(node, []), wanted.outputs.get(node, []))
        failed = [len(run.failed.get(node, ())) for run in (found, wanted)]
        if failed[0] != failed[1]:
            error = [*found.failed.get(node, ()), *wanted.failed.get(node, ())][0].strip().splitlines()[-1]
            said.append(f"{node}: {failed[0]} jobs failed, not {failed[1]}: {error}")
    return said


def _end(error: str | None) -> str:
    return "well" if error is None else repr(error.strip().splitlines()[-1] if error.strip() else error)


def _other(what: str, found: list[Any], wanted: list[Any]) -> list[str]:
    """Compare in any order: jobs of one node may run beside each other."""
    here, there = (
        Counter(orjson.dumps(each, option=orjson.OPT_SORT_KEYS) for each in side) for side in (found, wanted)
    )
    if here == there:
        return []
    return [f"{what} {_short(here - there)}, not {_short(there - here)}"]


def _short(values: Counter[bytes]) -> str:
    words = ", ".join(each.decode(errors="replace") for each in values.elements())
    return (words if len(words) < 300 else words[:300] + "…") or "none more"
