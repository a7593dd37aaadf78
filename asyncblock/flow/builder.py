"""Flow: a flow built in Python. It is the same document as a file's, and read by the same loader.

So that what can be written in a file can be built, what is refused there is refused here, and ``to_yaml`` is the
document itself.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from ..errors import InvalidFlow
from ..shapes import by_handle
from .codeblocks import CodeBlock, task_of
from .load import load_document
from .plan import Plan, Source
from .yamlfile import dump_yaml

Inputs = TypeVar("Inputs")
P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["Flow", "Node"]


@dataclass(frozen=True, slots=True)
class Node(Generic[R]):
    """A node of a flow under construction; ``node["handle"]`` is one of its outputs."""

    node_id: str

    def __getitem__(self, handle: str) -> Source:
        return Source(self.node_id, handle)

    @property
    def outputs(self) -> R:
        """The outputs as the block's result has them, so that a type checker knows their names and types.

        ``node.outputs["total"]`` of a TypedDict, or ``node.outputs.total`` of a dataclass, is the same as
        ``node["total"]``.
        """
        return cast(R, _Outputs(self.node_id))


class _Outputs:
    """What stands for a block's result while a flow is built: each part of it is a source."""

    __slots__ = ("_node_id",)

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id

    def __getitem__(self, handle: str) -> Source:
        return Source(self._node_id, handle)

    def __getattr__(self, handle: str) -> Source:
        if handle.startswith("__"):
            raise AttributeError(handle)
        return Source(self._node_id, handle)


class Flow:
    """A flow built in Python:

        flow = Flow("sums")
        a = flow.node(load, inputs={"path": flow.input("path")})
        flow.output("total", flow.node(add, inputs={"rows": a["rows"]})["total"])

    A node is a block, the path of a block's manifest, or another flow (a subflow).
    """

    def __init__(self, title: str, *, blocks: Sequence[CodeBlock[..., Any]] = ()) -> None:
        self.title = title
        self._nodes: list[dict[str, Any]] = []
        self._ids: set[str] = set()
        self._numbers: dict[str, int] = {}
        """How often a name was given to a node."""
        self._asked_for = tuple(blocks)
        """Blocks that no node is, and that others may run by name."""
        self._blocks: list[CodeBlock[..., Any]] = []
        self._flows: list[Flow] = []
        self._inputs: dict[str, dict[str, Any]] = {}
        self._outputs: dict[str, tuple[Source, ...]] = {}

    def input(self, name: str, **definition: Any) -> Source:
        """Declare an input of the flow; ``value=...`` makes it optional."""
        self._inputs[name] = {"handle": name, **definition}
        return Source(None, name)

    @overload
    def node(
        self,
        block: CodeBlock[Concatenate[Inputs, ...], Coroutine[Any, Any, R]],
        inputs: Inputs,
        *,
        node_id: str | None = ...,
        slots: Mapping[str, CodeBlock[..., Any] | Flow | Path] | None = ...,
        concurrency: int = ...,
        timeout: float | None = ...,
        recompute: bool | None = ...,
        progress_weight: float = ...,
        needs: Mapping[str, Any] | None = ...,
    ) -> Node[R]: ...

    @overload
    def node(
        self,
        block: CodeBlock[Concatenate[Inputs, ...], R],
        inputs: Inputs,
        *,
        node_id: str | None = ...,
        slots: Mapping[str, CodeBlock[..., Any] | Flow | Path] | None = ...,
        concurrency: int = ...,
        timeout: float | None = ...,
        recompute: bool | None = ...,
        progress_weight: float = ...,
        needs: Mapping[str, Any] | None = ...,
    ) -> Node[R]: ...

    @overload
    def node(
        self,
        block: CodeBlock[..., Coroutine[Any, Any, R]],
        inputs: Mapping[str, Any] | None = None,
        *,
        node_id: str | None = ...,
        slots: Mapping[str, CodeBlock[..., Any] | Flow | Path] | None = ...,
        concurrency: int = ...,
        timeout: float | None = ...,
        recompute: bool | None = ...,
        progress_weight: float = ...,
        needs: Mapping[str, Any] | None = ...,
    ) -> Node[R]: ...

    @overload
    def node(
        self,
        block: CodeBlock[..., R],
        inputs: Mapping[str, Any] | None = None,
        *,
        node_id: str | None = ...,
        slots: Mapping[str, CodeBlock[..., Any] | Flow | Path] | None = ...,
        concurrency: int = ...,
        timeout: float | None = ...,
        recompute: bool | None = ...,
        progress_weight: float = ...,
        needs: Mapping[str, Any] | None = ...,
    ) -> Node[R]: ...

    @overload
    def node(
        self,
        block: Flow | Path,
        inputs: Mapping[str, Any] | None = None,
        *,
        node_id: str | None = ...,
        slots: Mapping[str, CodeBlock[..., Any] | Flow | Path] | None = ...,
        concurrency: int = ...,
        timeout: float | None = ...,
        progress_weight: float = ...,
        needs: Mapping[str, Any] | None = ...,
    ) -> Node[Any]: ...

    def node(
        self,
        block: CodeBlock[..., Any] | Flow | Path,
        inputs: Any = None,
        *,
        node_id: str | None = None,
        slots: Mapping[str, CodeBlock[..., Any] | Flow | Path] | None = None,
        concurrency: int = 1,
        timeout: float | None = None,
        recompute: bool | None = None,
        progress_weight: float = 1.0,
        needs: Mapping[str, Any] | None = None,
    ) -> Node[Any]:
        """Add a node. An input is a constant, an output of another node, or a list of such outputs (a merge).

        ``inputs`` is a dict, or where all are constants an instance of the class that the block takes.
        ``slots`` are what a subflow's slots run; ``recompute`` overrides the block's, and so does ``needs``, what it
        needs of an executor: ``{"gpu": 1}``. Raises ``InvalidFlow`` for what is no block.
        """
        more: dict[str, Any] = {}
        if slots:
            more["slots"] = [{"slot_node_id": slot, **self._runs(each)} for slot, each in slots.items()]
        if recompute is not None:
            more["recompute"] = recompute
        if progress_weight != 1.0:
            more["progress_weight"] = progress_weight
        if needs is not None:
            more["needs"] = dict(needs)
        given = None if inputs is None else by_handle(inputs)
        return self._add(self._runs(block), _name_of(block), given, node_id, concurrency, timeout, more)

    def condition(
        self,
        inputs: Mapping[str, Any],
        cases: Sequence[Mapping[str, Any]],
        *,
        default: str | None = None,
        node_id: str | None = None,
    ) -> Node[Any]:
        """Add a condition: its first input goes on by the handle of the first case that holds, else by the default's.

        A case is ``{"handle", "expressions": [{"input_handle", "operator", "value"}], "logical": "OR" | "AND"}``.
        """
        conditions: dict[str, Any] = {"cases": [dict(case) for case in cases]}
        if default is not None:
            conditions["default"] = {"handle": default}
        what = {"inputs_def": [{"handle": name} for name in inputs], "conditions": conditions}
        return self._add(what, "condition", inputs, node_id, 1, None, {})

    def slot(
        self, node_id: str, inputs: Mapping[str, Any], outputs: Sequence[str], *, concurrency: int = 1
    ) -> Node[Any]:
        """Add a slot: what runs there is provided by the node that this flow is a subflow of."""
        slot = {
            "inputs_def": [{"handle": name} for name in inputs],
            "outputs_def": [{"handle": name} for name in outputs],
        }
        return self._add({"slot": slot}, node_id, inputs, node_id, concurrency, None, {})

    def output(self, name: str, *sources: Any) -> None:
        """Declare an output of the flow: an output of a node, or several. Raises ``InvalidFlow`` for anything else.

        Any, as ``node.outputs`` has the types of what will flow.
        """
        for source in sources:
            if not isinstance(source, Source):
                raise InvalidFlow(f"output {name!r} is fed by an output of a node, not by {source!r}")
        self._outputs[name] = sources

    def plan(self) -> Plan:
        """Check the flow and return its plan. Raises ``InvalidFlow`` with every problem."""
        return load_document(self.document(), self._all_blocks())

    def to_yaml(self) -> str:
        """Return the flow as a file's text: a ``flow.oo.yaml`` that means the same where its modules can be imported.

        Raises ``InvalidFlow`` for a constant that YAML can't carry.
        """
        return dump_yaml(self.document())

    def document(self) -> dict[str, Any]:
        """Return the flow as the document that a file would hold."""
        return self._document(())

    # ------------------------------------------------------------------ the document

    def _add(
        self,
        what: Mapping[str, Any],
        name: str,
        inputs: Mapping[str, Any] | None,
        node_id: str | None,
        concurrency: int,
        timeout: float | None,
        more: Mapping[str, Any],
    ) -> Node[Any]:
        node_id = node_id or self._free_id(name)
        node: dict[str, Any] = {"node_id": node_id, **what, **more}
        if concurrency != 1:
            node["concurrency"] = concurrency
        if timeout is not None:
            node["timeout"] = timeout
        if inputs:
            node["inputs_from"] = [{"handle": handle, **_fed_by(value)} for handle, value in inputs.items()]
        self._nodes.append(node)
        self._ids.add(node_id)
        return Node(node_id)

    def _runs(self, block: CodeBlock[..., Any] | Flow | Path) -> dict[str, Any]:
        if isinstance(block, Flow):
            self._flows.append(block)
            return {"subflow": block}
        if isinstance(block, Path):
            return {"task": str(block.resolve())}
        if not hasattr(block, "outputs_def"):
            raise InvalidFlow(f"{block!r} is no block; put @asyncblock.block above the function")
        self._blocks.append(block)
        return {"task": task_of(block)}

    def _free_id(self, name: str) -> str:
        """Return the name with the next number that is free; the first has none."""
        while True:
            number = self._numbers[name] = self._numbers.get(name, 0) + 1
            node_id = name if number == 1 else f"{name}_{number}"
            if node_id not in self._ids:
                return node_id

    def _document(self, around: tuple[Flow, ...]) -> dict[str, Any]:
        if self in around:
            raise InvalidFlow(f"the flow {self.title!r} is a subflow of itself; recursion is for flows in files")
        inside = (*around, self)
        made: dict[str, Any] = {"title": self.title}
        if self._inputs:
            made["inputs_def"] = [dict(each) for each in self._inputs.values()]
        made["nodes"] = [_with_flows(node, inside) for node in self._nodes]
        if self._outputs:
            made["outputs_from"] = [{"handle": name, **_fed_by(list(of))} for name, of in self._outputs.items()]
        return made

    def _all_blocks(self) -> tuple[CodeBlock[..., Any], ...]:
        found = dict.fromkeys((*self._blocks, *self._asked_for))
        for flow in self._flows:
            found.update(dict.fromkeys(flow._all_blocks()))
        return tuple(found)


N = TypeVar("N")


def _with_flows(node: N, inside: tuple[Flow, ...]) -> Any:
    """Put the documents of subflows in their places."""
    if isinstance(node, Flow):
        return node._document(inside)
    if isinstance(node, dict):
        return {key: _with_flows(each, inside) if key in ("subflow", "slots") else each for key, each in node.items()}
    return [_with_flows(each, inside) for each in node] if isinstance(node, list) else node


def _name_of(block: CodeBlock[..., Any] | Flow | Path) -> str:
    if isinstance(block, Flow):
        return block.title
    if isinstance(block, Path):
        return block.name if block.is_dir() else block.parent.name
    return str(getattr(block, "name", "block"))


def _fed_by(value: Any) -> dict[str, Any]:
    """Return what of ``inputs_from`` stands for a constant, a source, or a merge of sources."""
    sources = value if isinstance(value, list) else [value]
    if not sources or not all(isinstance(each, Source) for each in sources):
        return {"value": value}
    made: dict[str, Any] = {}
    for source in sources:
        if source.node_id is None:
            made.setdefault("from_flow", []).append({"input_handle": source.handle})
        else:
            made.setdefault("from_node", []).append({"node_id": source.node_id, "output_handle": source.handle})
    return made
