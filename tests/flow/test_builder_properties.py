"""Any flow that can be built is the same after it was YAML: every kind of node, whatever its constants and names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import asyncblock
from asyncblock.flow import Plan, load_flow
from asyncblock.flow.builder import Node
from asyncblock.flow.conditions import OPERATORS, UNARY
from asyncblock.flow.plan import Source

from .packages import block as write_block
from .test_yamlfile import JSON, LOOKS, TEXTS


class Number(TypedDict):
    n: Any


@asyncblock.block
async def double(inputs: Number) -> Number:
    """Double a number."""
    return {"n": inputs["n"] * 2}


@asyncblock.block(retries=2, backoff=0.5)
def plain(inputs: Number) -> Number:
    """A block that is no coroutine, and is tried again."""
    return {"n": inputs["n"]}


NAMES = (TEXTS | LOOKS).filter(lambda name: name and "::" not in name)


FLOW_IN_SLOT = "subflow whose slot has a flow"
KINDS = ["block", "sync", "file", "condition", "subflow", FLOW_IN_SLOT]


class Builder:
    """Draws a flow node by node; each input is a constant, a source or a merge of sources. One node is of ``kind``."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], manifest: Path, kind: str) -> None:
        self.draw = draw
        self.manifest = manifest
        self.wanted: str | None = kind
        """The kind of the next node, if it isn't drawn."""

    def flow(self) -> asyncblock.Flow:
        flow = asyncblock.Flow(self.draw(NAMES), blocks=[plain] if self.draw(st.booleans()) else ())
        sources = [
            flow.input(name, value=self.draw(JSON)) for name in self.draw(st.lists(NAMES, max_size=2, unique=True))
        ]
        for node_id in self.draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
            kind = self.wanted or self.draw(st.sampled_from(KINDS))
            self.wanted = None
            node, handles = self.node(flow, kind, node_id, sources)
            sources += [node[handle] for handle in handles]
        for name in self.draw(st.lists(NAMES, max_size=2, unique=True)):
            flow.output(name, *self.draw(st.lists(st.sampled_from(sources), min_size=1, max_size=2, unique=True)))
        return flow

    def fed(self, sources: list[Source]) -> Any:
        choices = [JSON.filter(lambda value: value != [])]
        if sources:
            choices += [
                st.sampled_from(sources),
                st.lists(st.sampled_from(sources), min_size=1, max_size=3, unique=True),
            ]
        return self.draw(st.one_of(choices))

    def node(
        self, flow: asyncblock.Flow, kind: str, node_id: str, sources: list[Source]
    ) -> tuple[Node[Any], list[str]]:
        if kind == "condition":
            return self.condition(flow, node_id, sources)
        options: dict[str, Any] = {
            "node_id": node_id,
            "concurrency": self.draw(st.integers(-1, 5)),
            "timeout": self.draw(st.none() | st.floats(0.1, 1e6)),
            "progress_weight": self.draw(st.floats(0, 100)),
        }
        if kind in ("subflow", FLOW_IN_SLOT):
            inner, inputs, slots, outputs = self.subflow(with_block=kind == "subflow")
            return flow.node(inner, {name: self.fed(sources) for name in inputs}, slots=slots, **options), outputs
        what: Any = {"block": double, "sync": plain, "file": self.manifest}[kind]
        return flow.node(what, {"n": self.fed(sources)}, **options), ["n"]

    def condition(self, flow: asyncblock.Flow, node_id: str, sources: list[Source]) -> tuple[Node[Any], list[str]]:
        inputs = {name: self.fed(sources) for name in self.draw(st.lists(NAMES, min_size=1, max_size=2, unique=True))}
        cases: list[dict[str, Any]] = []
        for handle in self.draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)):
            operator = self.draw(st.sampled_from(["==", "!=", *UNARY, "contains", "has value"]))
            assert operator in OPERATORS
            expression = {"input_handle": self.draw(st.sampled_from(sorted(inputs))), "operator": operator}
            if operator not in UNARY:
                expression["value"] = self.draw(JSON)
            logical = self.draw(st.sampled_from(["AND", "OR"]))
            cases.append({"handle": handle, "logical": logical, "expressions": [expression]})
        default = self.draw(st.none() | NAMES)
        node = flow.condition(inputs, cases, default=default, node_id=node_id)
        return node, [*(case["handle"] for case in cases), *([] if default is None else [default])]

    def subflow(self, *, with_block: bool) -> tuple[asyncblock.Flow, list[str], dict[str, Any], list[str]]:
        """A flow with a slot, what provides for it, and the flow's faces."""
        inner = asyncblock.Flow(self.draw(NAMES))
        taken = inner.input("in it", description=self.draw(TEXTS))
        slot_id = self.draw(NAMES)
        slot = inner.slot(slot_id, {"n": taken}, ["n"], concurrency=self.draw(st.integers(-1, 3)))
        inner.output("out of it", slot["n"])
        provider: Any = self.draw(st.sampled_from([double, plain, self.manifest, None])) if with_block else None
        if provider is None:
            provider = asyncblock.Flow(self.draw(NAMES))
            provider.output("n", provider.node(double, {"n": provider.input("n")})["n"])
        return inner, ["in it"], {slot_id: provider}, ["out of it"]


def bare(plan: Plan) -> Plan:
    """Return a plan without where it was read."""
    flows = {key: replace(each, path=None, scope="") for key, each in plan.flows.items()}
    return replace(plan, path=None, scope="", flows=flows, catalog={}, packages={}, code_blocks=(), roots={})


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_block(tmp_path / "pkg", "inc", "n", "n")


@pytest.mark.parametrize("kind", KINDS)
def test_any_flow_is_the_same_after_it_was_yaml(manifest: Path, kind: str) -> None:
    @settings(suppress_health_check=list(HealthCheck), max_examples=15, deadline=None)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        flow = Builder(data.draw, manifest, kind).flow()
        built = flow.plan()
        path = manifest.parents[3] / "flow.oo.yaml"
        path.write_text(flow.to_yaml(), "utf-8")
        read = load_flow(path)
        assert bare(read) == bare(built)
        # Equal values of other types would be equal too: 1, 1.0 and true.
        assert orjson.dumps(bare(read).to_json()) == orjson.dumps(bare(built).to_json())
        assert bare(Plan.from_json(orjson.loads(orjson.dumps(built.to_json())))) == bare(built)

    check()
