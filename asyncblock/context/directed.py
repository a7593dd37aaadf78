"""Directed outputs: a value for some of a handle's connections only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from ..errors import LocalProtocolError

__all__ = ["Targets", "ToFlow", "ToNode", "targets_of"]

Targets = dict[str, list[dict[str, str]]]
"""Fields of the record: ``to_node``, ``to_flow``, or both."""


class ToNode(TypedDict):
    """One connection to a node: its id and the input handle."""

    node_id: str
    input_handle: str


class ToFlow(TypedDict):
    """One connection to an output of the flow."""

    output_handle: str


def targets_of(to_node: Sequence[ToNode] | None, to_flow: Sequence[ToFlow] | None) -> Targets:
    """Check what an output is directed at. Raises ``LocalProtocolError`` that says how it is written."""
    targets: Targets = {}
    if to_node is not None:
        targets["to_node"] = _checked("to_node", to_node, ("node_id", "input_handle"))
    if to_flow is not None:
        targets["to_flow"] = _checked("to_flow", to_flow, ("output_handle",))
    return targets


def _checked(name: str, given: object, keys: tuple[str, ...]) -> list[dict[str, str]]:
    checked: list[dict[str, str]] = []
    form = "{" + ", ".join(f'"{key}": ...' for key in keys) + "}"
    if isinstance(given, (str, Mapping)) or not isinstance(given, Sequence):
        raise LocalProtocolError(f"{name} is a list of {form}, not {type(given).__name__}")
    for each in given:
        if not isinstance(each, Mapping) or not all(isinstance(each.get(key), str) for key in keys):
            raise LocalProtocolError(f"{name} is a list of {form}; {each!r:.80} isn't one")
        checked.append({key: each[key] for key in keys})
    return checked
