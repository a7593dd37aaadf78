"""The nodes around a block under test: one gives it what JSON can't carry, one for each handle takes what stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..block import AnyBlock, block
from ..errors import InvalidFlow, UnserializableValue
from ..flow.builder import Flow
from ..flow.lookup import FILES
from ..flow.report import Report, read_handles
from ..flow.yamlfile import Map, read_yaml
from ..oocana_surface import is_for_oocana, oocana_binding
from ..runtime.offload import run_in_thread
from ..values import dumps, is_small

__all__ = ["Around", "block_of"]

_VAR: Final = "oomol/var"
_BIN: Final = "oomol/bin"


def block_of(main: Callable[..., Any] | AnyBlock) -> AnyBlock:
    """Return what is tested: a function that a manifest beside its file names has the handles that stand there.

    It gets the context that it was written for, as in a flow of files. Raises ``Unavailable`` without that package.
    """
    if isinstance(main, AnyBlock):
        return main
    found = _manifest_of(main)
    if found is None:
        return _bound(block(main), None)
    manifest, file = found
    report = Report()
    inputs, outputs = (_handles_of(report, manifest, key, file) for key in ("inputs", "outputs"))
    report.check()
    return _bound(block(inputs=inputs, outputs=outputs)(main), _options(manifest).get("context"))


def _bound(made: AnyBlock, said: object) -> AnyBlock:
    if is_for_oocana(made.fn, said):
        made.binding = oocana_binding(made.fn)
    return made


def _handles_of(report: Report, manifest: Map, key: str, file: Path) -> list[dict[str, Any]] | None:
    """Return the handles that a manifest declares; None where it lets others in, which stays as free as in a flow."""
    if f"{key}_def" not in manifest or manifest.get(f"additional_{key}"):
        return None
    return read_handles(report, manifest, f"{key}_def", file)


def _manifest_of(main: Callable[..., Any]) -> tuple[Map, Path] | None:
    code = getattr(main, "__code__", None)
    if code is None:
        return None
    source = Path(code.co_filename)
    for name in FILES["task"][1]:
        file = source.parent / name
        if not file.is_file():
            continue
        manifest, problems = read_yaml(file)
        if problems:
            raise InvalidFlow(problems)
        if manifest is not None and _runs(manifest) == (source.name, main.__name__):
            return manifest, file
    return None


def _runs(manifest: Map) -> tuple[Any, Any]:
    """Return which file and function a manifest names."""
    named = _options(manifest)
    return named.get("entry", "index.py"), named.get("function", "main")


def _options(manifest: Map) -> Map:
    executor = manifest.get("executor")
    options = executor.get("options") if isinstance(executor, Map) else None
    return options if isinstance(options, Map) else Map(manifest.line)


@dataclass(slots=True)
class Around:
    """What stands around a block under test: nodes, their blocks, and what the takers have got."""

    made: AnyBlock
    outside: dict[str, Any] = field(default_factory=dict)
    """Inputs that travel as JSON, as a flow's do."""
    inside: dict[str, tuple[Any, str | None]] = field(default_factory=dict)
    """Inputs that another node has to put out, with their media type."""
    blocks: list[AnyBlock] = field(default_factory=list)
    nodes: set[str] = field(default_factory=set)
    taken: dict[str, list[Any]] = field(default_factory=dict)
    """The values of each output that stays in the process, in order."""

    async def sort(self, given: Mapping[str, Any]) -> None:
        """Tell the inputs apart: what JSON carries from outside, and what only a node can hand on."""
        declared = {each["handle"]: _media_type(each) for each in self.made.inputs_def or ()}
        for name, value in given.items():
            kind = declared[name] if name in declared else await _kind_of(value)
            if value is None or (kind not in (_VAR, _BIN) and is_small(value)):
                self.outside[name] = value
            else:
                self.inside[name] = (value, kind)

    def flow(self) -> Flow:
        """Return the flow: what gives, the block, what takes."""
        flow = Flow(self.made.name)
        inputs: dict[str, Any] = {name: flow.input(name) for name in self.outside}
        if self.inside:
            giver = _giver({name: value for name, (value, _) in self.inside.items()}, self.inside)
            given = self._node(flow, giver, {}, "given")
            inputs |= {name: given[name] for name in self.inside}
        self.blocks.append(self.made)
        node = flow.node(self.made, inputs, node_id="block")
        for each in self.made.outputs_def or ():
            if _media_type(each) == _VAR:
                handle = each["handle"]
                self._node(flow, _taker(self.taken.setdefault(handle, [])), {"value": node[handle]}, f"takes_{handle}")
        return flow

    def _node(self, flow: Flow, made: AnyBlock, inputs: Mapping[str, Any], node_id: str) -> Any:
        self.blocks.append(made)
        self.nodes.add(node_id)
        return flow.node(made, inputs, node_id=node_id)

    def with_what_was_taken(self, values: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Return outputs with the object itself where the journal has only a reference to it.

        Of a block that was tried again the last attempt's go on, so they are counted from the end.
        """
        left = {handle: list(taken) for handle, taken in self.taken.items()}
        made: list[tuple[str, Any]] = []
        for handle, value in reversed(values):
            made.append((handle, left[handle].pop() if left.get(handle) and value is not None else value))
        return made[::-1]


def _media_type(handle: Mapping[str, Any]) -> str | None:
    schema = handle.get("json_schema")
    return schema.get("contentMediaType") if isinstance(schema, Mapping) else None


async def _kind_of(value: Any) -> str | None:
    """Return the media type of a handle that nobody has declared, by the value."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _BIN
    try:
        await run_in_thread(dumps, value)
    except UnserializableValue:
        return _VAR
    return None


class _Values:
    """Keeps values out of what identifies a function: they may be large."""

    __slots__ = ("values",)

    def __init__(self, values: Any) -> None:
        self.values = values


def _giver(values: Mapping[str, Any], kinds: Mapping[str, tuple[Any, str | None]]) -> AnyBlock:
    held = _Values(values)

    async def given() -> dict[str, Any]:
        return dict(held.values)

    return block(name="given", outputs=[_handle(name, kind) for name, (_, kind) in kinds.items()])(given)


def _taker(taken: list[Any]) -> AnyBlock:
    held = _Values(taken)

    async def take(inputs: dict[str, Any]) -> None:
        held.values.append(inputs["value"])

    return block(name="take", inputs=[_handle("value", _VAR)])(take)


def _handle(name: str, kind: str | None) -> dict[str, Any]:
    return {"handle": name} if kind is None else {"handle": name, "json_schema": {"contentMediaType": kind}}
