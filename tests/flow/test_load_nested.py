"""Loading subflows, slots, services, versions, the catalog; what joins nodes beyond their flow."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncblock.errors import InvalidFlow
from asyncblock.flow import Plan, load_flow
from asyncblock.flow.plan import Source

from .packages import MAIN, block, problems, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A package with blocks ``inc`` (x -> y) and ``add`` (a, b=7 -> sum), and a subflow ``twice``."""
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: mine\nversion: 1.0.0\n")
    block(root, "inc", "x", "y")
    block(root, "add", "a b=7", "sum")
    write(
        root / "subflows/twice/subflow.oo.yaml",
        """
        description: Twice.
        inputs_def: [{handle: x}]
        outputs_def: [{handle: y}]
        nodes:
          - {node_id: one, task: self::inc, inputs_from: [{handle: x, from_flow: [{input_handle: x}]}]}
          - {node_id: two, task: self::inc, inputs_from: [{handle: x, from_node: [{node_id: one, output_handle: y}]}]}
        outputs_from: [{handle: y, from_node: [{node_id: two, output_handle: y}]}]
        forward_previews: [two]
        """,
    )
    return root


def flow(root: Path, text: str) -> Path:
    return write(root / "flows/f/flow.oo.yaml", text)


def calling(reference: str = "self::twice", more: str = "") -> str:
    return f"nodes:\n  - {{node_id: s, subflow: '{reference}', inputs_from: [{{handle: x, value: 1}}]{more}}}\n"


def test_a_subflow_is_loaded_with_the_flow_and_travels_with_it(root: Path) -> None:
    plan = load_flow(flow(root, calling(more=", timeout: 5, progress_weight: 2")))
    [node] = plan.nodes
    assert (node.kind, node.flow, node.timeout, node.weight) == ("subflow", "mine::twice", 5, 2)
    inner = plan.flows["mine::twice"]
    assert [each.node_id for each in inner.nodes] == ["one", "two"]
    assert inner.nodes[0].inputs["x"].sources == (Source(None, "x"),)
    assert inner.forward_previews == ("two",)
    assert inner.path == str(root / "subflows/twice/subflow.oo.yaml")
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    "reference",
    [
        "self::twice",
        "../../subflows/twice",
        "../../subflows/twice/subflow.oo.yaml",
        "other::twice",
        "twice",
        "{absolute}",
    ],
)
def test_subflows_are_found_in_each_form_of_reference(root: Path, reference: str) -> None:
    installed = root.parent / "installed"
    text = (root / "subflows/twice/subflow.oo.yaml").read_text()
    for package in ("other-1.2.0", "other-1.10.0"):
        write(installed / package / "subflows/twice/subflow.oo.yaml", text)
        block(installed / package, "inc", "x", "y")
    path = flow(root, calling(reference.format(absolute=root / "subflows/twice")))
    plan = load_flow(path, search_paths=[installed, root])
    assert (
        len(plan.flows["other::twice" if "other" in reference else "mine::twice"].nodes) == 2
        if "other" not in (reference)
        else any("other-1.10.0" in str(inner.path) for inner in plan.flows.values())
    )


def test_a_subflow_may_refer_to_itself(root: Path) -> None:
    write(
        root / "subflows/down/subflow.oo.yaml",
        """
        inputs_def: [{handle: x}]
        nodes:
          - {node_id: again, subflow: self::down, inputs_from: [{handle: x, from_flow: [{input_handle: x}]}]}
        """,
    )
    plan = load_flow(flow(root, calling("self::down")))
    assert plan.flows["mine::down"].nodes[0].flow == "mine::down"


@pytest.mark.parametrize("through", ["a", "b"])
def test_a_subflow_that_calls_itself_at_once_and_for_ever_is_refused(root: Path, through: str) -> None:
    for name, other in (("a", through), ("b", "a")):
        write(
            root / f"subflows/{name}/subflow.oo.yaml",
            f"nodes:\n  - {{node_id: one, task: self::inc, inputs_from: [{{handle: x, value: 1}}]}}\n"
            f"  - {{node_id: again, subflow: self::{other}}}\n",
        )
    found = problems(flow(root, "nodes: [{node_id: n, subflow: self::a}]\n"))
    words = "node 'again' runs the flow that it is in, at once and for ever"
    assert found == [("subflow.oo.yaml", 3, words)] * (1 if through == "a" else 2)


def test_problems_of_subflows_are_told_with_their_own_file_and_line_and_all_at_once(root: Path) -> None:
    write(
        root / "subflows/twice/subflow.oo.yaml",
        """
        inputs_def: [{handle: x}]
        nodes:
          - {node_id: one, task: self::nope}
          - {node_id: two, task: self::inc, inputs_from: [{handle: x, from_flow: [{input_handle: q}]}]}
        """,
    )
    path = flow(root, calling() + "  - {node_id: t, task: self::gone}\n")
    assert [(file, line) for file, line, _ in problems(path)] == [
        ("flow.oo.yaml", 3),
        ("subflow.oo.yaml", 3),
        ("subflow.oo.yaml", 4),
    ]


def test_a_subflow_node_is_checked_against_what_the_subflow_declares(root: Path) -> None:
    path = flow(
        root,
        """
        nodes:
          - node_id: s
            subflow: self::twice
            inputs_from: [{handle: z, value: 1}]
          - {node_id: t, task: self::inc, inputs_from: [{handle: x, from_node: [{node_id: s, output_handle: z}]}]}
        """,
    )
    assert [(line, message.partition(";")[0]) for _, line, message in problems(path)] == [
        (2, "node 's': nothing feeds its input 'x'"),
        (4, "node 's': the block declares no input 'z'"),
        (5, "node 't': node 's' declares no output 'z'"),
    ]


def test_a_subflow_may_stand_inline(root: Path) -> None:
    path = flow(
        root,
        """
        nodes:
          - node_id: s
            inputs_from: [{handle: x, value: 1}]
            subflow:
              inputs_def: [{handle: x}]
              nodes:
                - {node_id: i, task: self::inc, inputs_from: [{handle: x, from_flow: [{input_handle: x}]}]}
        """,
    )
    plan = load_flow(path)
    assert [node.node_id for node in plan.flows[str(plan.nodes[0].flow)].nodes] == ["i"]


# ---------------------------------------------------------------------- slots

MAP = """
inputs_def: [{handle: x}]
outputs_def: [{handle: out}]
nodes:
  - {node_id: each, task: self::inc, inputs_from: [{handle: x, from_flow: [{input_handle: x}]}]}
  - node_id: apply
    slot: {inputs_def: [{handle: item}], outputs_def: [{handle: result}]}
    inputs_from: [{handle: item, from_node: [{node_id: each, output_handle: y}]}]
outputs_from: [{handle: out, from_node: [{node_id: apply, output_handle: result}]}]
"""


@pytest.fixture
def mapping(root: Path) -> Path:
    """The package with a subflow ``map`` that has a slot ``apply`` (item -> result)."""
    write(root / "subflows/map/subflow.oo.yaml", MAP)
    block(root, "double", "item", "result")
    block(root, "times", "item by unit=none", "result")
    return root


def providing(provider: str) -> str:
    return (
        "nodes:\n"
        "  - {node_id: k, task: self::inc, inputs_from: [{handle: x, value: 1}]}\n"
        "  - node_id: m\n"
        "    subflow: self::map\n"
        "    inputs_from: [{handle: x, value: 1}]\n"
        f"    slots: [{provider}]\n"
    )


def test_a_slot_is_provided_for_by_a_task(mapping: Path) -> None:
    plan = load_flow(flow(mapping, providing("{slot_node_id: apply, task: self::double}")))
    provider = plan.node("m").slots["apply"]
    assert (provider.kind, provider.block["entry"]) == ("task", "blocks/double/main.py")
    assert Plan.from_json(plan.to_json()) == plan


def test_a_providers_further_inputs_become_inputs_of_the_subflow_node(mapping: Path) -> None:
    further = "inputs_from: [{handle: by, from_node: [{node_id: k, output_handle: y}]}]"
    plan = load_flow(flow(mapping, providing(f"{{slot_node_id: apply, task: self::times, {further}}}")))
    inputs = plan.node("m").inputs
    assert inputs["apply::by"].sources == (Source("k", "y"),)
    assert inputs["apply::unit"].value == "none"


def test_a_slotflow_gets_the_slots_inputs_and_further_ones(mapping: Path) -> None:
    write(
        mapping / "slotflows/scale/slotflow.oo.yaml",
        """
        nodes:
          - node_id: t
            task: self::times
            inputs_from:
              - {handle: item, from_flow: [{input_handle: item}]}
              - {handle: by, from_flow: [{input_handle: by}]}
        outputs_from: [{handle: result, from_node: [{node_id: t, output_handle: result}]}]
        """,
    )
    further = "inputs_def: [{handle: by}], inputs_from: [{handle: by, value: 3}]"
    plan = load_flow(flow(mapping, providing(f"{{slot_node_id: apply, slotflow: self::scale, {further}}}")))
    provider = plan.node("m").slots["apply"]
    assert provider.kind == "subflow"
    assert [each["handle"] for each in plan.flows[str(provider.flow)].inputs_def] == ["item", "by"]
    assert plan.node("m").inputs["apply::by"].value == 3


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ("", "nothing provides for the slots 'apply'"),
        ("{slot_node_id: apply, task: self::double}, {slot_node_id: apply, task: self::double}", "two providers"),
        ("{slot_node_id: other, task: self::double}", "has no such slot; there is 'apply'"),
        ("{task: self::double}", "needs a 'slot_node_id'"),
        ("{slot_node_id: apply}", "exactly one of task, subflow, slotflow"),
        ("{slot_node_id: apply, task: self::times}", "nothing feeds the provider's input 'by'"),
        ("{slot_node_id: apply, task: self::gone}", "there is no block 'self::gone'"),
        ("{slot_node_id: apply, slotflow: self::gone}", "there is no slotflow 'self::gone'"),
        ("{slot_node_id: apply, slotflow: other::x}", "belongs to the flow's own package"),
        ("{slot_node_id: apply, subflow: self::map}", "has slots itself"),
    ],
)
def test_a_slot_that_cannot_be_provided_for_is_refused(mapping: Path, provider: str, words: str) -> None:
    found = problems(flow(mapping, providing(provider)))
    assert any(words in message for _, _, message in found), found
    assert all(line and line >= 3 for _, line, _ in found)


def test_e5_a_flow_with_slots_cannot_run_by_itself(mapping: Path) -> None:
    """Upstream, an unprovided slot is only reported while the flow runs, and the session succeeds."""
    found = problems(mapping / "subflows/map/subflow.oo.yaml")
    assert ("subflow.oo.yaml", 5) in [(file, line) for file, line, message in found if "for this slot" in message]


def test_a_slot_in_a_root_flow_is_refused(root: Path) -> None:
    found = problems(flow(root, "nodes: [{node_id: s, slot: {inputs_def: []}}]\n"))
    assert any("nothing provides for this slot" in message for _, _, message in found)


# ---------------------------------------------------------------------- services

SERVICE = """
executor: {name: python, entry: index.py, function: main, start_at: session_start, stop_at: session_end, keep_alive: 5}
blocks:
  - {name: greet, inputs_def: [{handle: who}], outputs_def: [{handle: text}]}
"""


@pytest.fixture
def serving(root: Path) -> Path:
    """The package with a service ``svc``."""
    write(root / "services/svc/service.oo.yaml", SERVICE)
    write(root / "services/svc/index.py", "def main(service):\n    service.block_handler = {}\n")
    return root


@pytest.mark.parametrize("reference", ["self::svc::greet", "mine::svc::greet"])
def test_a_service_block_is_a_task_with_its_service(serving: Path, reference: str) -> None:
    path = flow(
        serving,
        f"nodes:\n  - {{node_id: a, service: '{reference}', inputs_from: [{{handle: who, value: x}}]}}\n"
        f"  - {{node_id: b, service: '{reference}',"
        " inputs_from: [{handle: who, from_node: [{node_id: a, output_handle: text}]}]}\n",
    )
    serving = serving.rename(serving.parent / "mine")
    plan = load_flow(serving / "flows/f/flow.oo.yaml", search_paths=[serving.parent])
    assert path.name == "flow.oo.yaml"
    first, second = plan.nodes
    assert first.kind == "task"
    assert first.block["service"]["block"] == "greet"
    assert first.block["service"]["keep_alive"] == 5
    assert (first.block["entry"], first.block["dir"]) == ("services/svc/index.py", "services/svc")
    # All calls of a service go to the one process that it runs in.
    assert first.group == second.group
    assert str(first.group).startswith("*")


def test_a_block_of_a_service_says_what_other_blocks_say(serving: Path) -> None:
    more = (
        "outputs_def: [{handle: text}], retries: {retries: 2}, recompute: true, additional_inputs: true, descripton: x"
    )
    write(serving / "services/svc/service.oo.yaml", SERVICE.replace("outputs_def: [{handle: text}]", more))
    node = "{node_id: a, service: self::svc::greet, inputs_def: [{handle: by}], inputs_from: [{handle: who, value: x}]}"
    plan = load_flow(flow(serving, f"nodes: [{node[:-2]}, {{handle: by, value: y}}]}}]\n"))
    block = plan.nodes[0].block
    assert block["retries"] == {"retries": 2}
    assert block["recompute"] is True
    assert [each["handle"] for each in block["inputs_def"]] == ["who", "by"]
    assert any("Did you mean 'description'" in each.message for each in plan.warnings)


def test_a_service_may_lie_among_the_blocks(serving: Path) -> None:
    (serving / "services").rename(serving / "services.moved")
    (serving / "blocks/svc").mkdir(parents=True)
    for name in ("service.oo.yaml", "index.py"):
        (serving / "services.moved/svc" / name).rename(serving / "blocks/svc" / name)
    plan = load_flow(
        flow(serving, "nodes: [{node_id: a, service: self::svc::greet, inputs_from: [{handle: who, value: x}]}]\n")
    )
    assert plan.nodes[0].block["entry"] == "blocks/svc/index.py"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("greet", "is named package::service::block"),
        ("self::nope::greet", "there is no service 'self::nope'"),
        ("self::svc::nope", "has no block 'nope'; it has 'greet'"),
    ],
)
def test_a_service_that_is_not_there_is_refused(serving: Path, reference: str, words: str) -> None:
    found = problems(flow(serving, f"nodes: [{{node_id: a, service: '{reference}'}}]\n"))
    assert any(words in message for _, _, message in found), found


def test_a_service_with_an_unknown_time_to_stop_is_refused(serving: Path) -> None:
    write(serving / "services/svc/service.oo.yaml", SERVICE.replace("stop_at: session_end", "stop_at: tomorrow"))
    path = flow(serving, "nodes: [{node_id: a, service: self::svc::greet, inputs_from: [{handle: who, value: x}]}]\n")
    [(_, _, message)] = problems(path)
    assert "stop_at can't be 'tomorrow'" in message


# ---------------------------------------------------------------------- versions


@pytest.mark.parametrize(
    ("depends", "there", "taken"),
    [
        ("1.2.0", ("1.2.0", "1.10.0"), "lib-1.2.0"),
        (None, ("1.2.0", "1.10.0", "1.9.0"), "lib-1.10.0"),
        (None, ("1.0.0", "1.0.0-rc.1"), "lib-1.0.0"),
        (None, (), "lib"),
        ("1.2.0", (), "lib"),
    ],
)
def test_the_version_is_the_one_depended_on_else_the_highest_installed(
    root: Path, depends: str | None, there: tuple[str, ...], taken: str
) -> None:
    installed = root.parent / "installed"
    for name in (*(f"lib-{version}" for version in there), "lib", "lib-extra-9.0.0"):
        block(installed / name, "b", "", "o")
    if depends is not None:
        write(root / "package.oo.yaml", f"name: mine\nversion: 1.0.0\ndependencies: {{lib: {depends}}}\n")
    plan = load_flow(flow(root, "nodes: [{node_id: n, task: 'lib::b'}]\n"), search_paths=[installed])
    assert f"/{taken}/" in plan.nodes[0].block["path"]


def test_a_version_that_is_not_installed_says_which_are(root: Path) -> None:
    installed = root.parent / "installed"
    block(installed / "lib-2.0.0", "b", "", "o")
    write(root / "package.oo.yaml", "name: mine\nversion: 1.0.0\ndependencies: {lib: 1.0.0}\n")
    with pytest.raises(InvalidFlow, match=r"mine depends on lib 1\.0\.0, installed is 2\.0\.0"):
        load_flow(flow(root, "nodes: [{node_id: n, task: 'lib::b'}]\n"), search_paths=[installed])


# ---------------------------------------------------------------------- the catalog


def test_the_catalog_holds_the_packages_blocks_and_those_it_depends_on(root: Path) -> None:
    installed = root.parent / "installed"
    block(installed / "lib-1.0.0", "b", "", "o")
    block(installed / "unrelated-1.0.0", "c", "", "o")
    write(root / "package.oo.yaml", "name: mine\nversion: 1.0.0\ndependencies: {lib: 1.0.0}\n")
    write(root / "blocks/old/block.oo.yaml", "executor: {name: nodejs}\n")
    path = flow(root, "nodes: [{node_id: n, task: self::add, inputs_from: [{handle: a, value: 1}]}]\n")
    plan = load_flow(path, search_paths=[installed])
    assert {*plan.catalog} == {"mine::add", "mine::inc", "mine::old", "mine::twice", "lib::b"}
    assert plan.find(None, "self::inc") == "mine::inc"
    assert plan.find(None, "lib::b") == "lib::b"
    assert "'nodejs' can't be run here" in plan.catalog["mine::old"].block["refused"]
    assert plan.catalog["mine::twice"].flow == "mine::twice"
    assert len(plan.flows["mine::twice"].nodes) == 2
    assert set(plan.roots.values()) >= {root, installed / "lib-1.0.0"}
    assert Plan.from_json(plan.to_json()) == plan


def test_a_broken_subflow_that_no_node_names_does_not_refuse_the_flow(root: Path) -> None:
    write(root / "subflows/bad/subflow.oo.yaml", "nodes: [{node_id: a, task: self::gone}]\n")
    path = flow(root, "nodes: [{node_id: n, task: self::add, inputs_from: [{handle: a, value: 1}]}]\n")
    plan = load_flow(path)
    assert "there is no block 'self::gone'" in plan.catalog["mine::bad"].block["refused"]
    assert plan.catalog["mine::bad"].flow is None


# ---------------------------------------------------------------------- one block as a flow, languages, common fields


def test_a_block_is_a_flow_of_one_node_with_its_own_defaults(root: Path) -> None:
    plan = load_flow(root / "blocks/add/block.oo.yaml", inputs={"a": 1})
    [node] = plan.nodes
    assert node.node_id == "add"
    assert plan.input_values({"a": 1}) == {"a": 1, "b": 7}
    assert plan.outputs == {"sum": (Source("add", "sum"),)}
    assert load_flow(root / "blocks/add", inputs={"a": 1}) == plan


def test_a_block_that_lacks_an_input_says_so(root: Path) -> None:
    [(_, line, message)] = problems(root / "blocks/add")
    assert line == 2
    assert "input 'a' is required" in message


@pytest.mark.parametrize("language", ["nodejs", "rust", "connector"])
def test_a_language_is_refused_unless_an_executor_has_announced_it(root: Path, language: str) -> None:
    write(root / "blocks/js/block.oo.yaml", f"executor: {{name: {language}, options: {{entry: main.ts}}}}\n")
    path = flow(root, "nodes: [{node_id: n, task: self::js}]\n")
    [(file, line, message)] = problems(path)
    assert (file, line) == ("block.oo.yaml", 1)
    assert f"executor {language!r} can't be run here" in message
    plan = load_flow(path, languages=[language])
    assert plan.nodes[0].block["language"] == language
    assert plan.nodes[0].block["options"] == {"entry": "main.ts"}
    assert Plan.from_json(plan.to_json()) == plan


def test_inject_is_refused_with_its_line(root: Path) -> None:
    path = flow(
        root,
        "injection: {other: setup.sh}\nnodes:\n"
        "  - node_id: n\n    task: self::inc\n    inject: {package: other}\n    inputs_from: [{handle: x, value: 1}]\n",
    )
    assert [line for _, line, message in problems(path) if "isn't supported" in message] == [1, 5]


def test_connections_from_ignored_nodes_are_dropped_with_a_warning(root: Path) -> None:
    path = flow(
        root,
        """
        nodes:
          - {node_id: a, task: self::gone, ignore: true}
          - node_id: n
            task: self::inc
            inputs_from: [{handle: x, value: 5, from_node: [{node_id: a, output_handle: y}]}]
          - node_id: never
            task: self::inc
            inputs_from: [{handle: x, from_node: [{node_id: a, output_handle: y}]}]
        """,
    )
    plan = load_flow(path)
    assert plan.node("n").inputs["x"].value == 5
    assert [warning.line for warning in plan.warnings] == [5, 8, 8]
    assert "it will never run" in plan.warnings[-1].message


def test_several_sources_and_flow_inputs_merge(root: Path) -> None:
    path = flow(
        root,
        """
        inputs_def: [{handle: q, value: 0}]
        nodes:
          - {node_id: a, task: self::inc, inputs_from: [{handle: x, value: 1}]}
          - node_id: n
            task: self::inc
            inputs_from:
              - handle: x
                value: 9
                from_node: [{node_id: a, output_handle: y}, {node_id: n, output_handle: y}]
                from_flow: [{input_handle: q}]
        outputs_from: [{handle: o, from_node: [{node_id: n, output_handle: y}], from_flow: [{input_handle: q}]}]
        """,
    )
    plan = load_flow(path)
    assert plan.node("n").inputs["x"].sources == (Source("a", "y"), Source("n", "y"), Source(None, "q"))
    assert not plan.node("n").inputs["x"].has_value
    assert plan.outputs["o"] == (Source("n", "y"), Source(None, "q"))


def test_b10_schema_overrides_say_what_is_secret(root: Path) -> None:
    """Upstream, secret overrides are never applied."""
    path = flow(
        root,
        """
        nodes:
          - node_id: n
            task: self::inc
            inputs_from:
              - handle: x
                value: {user: a, token: "type,name,key"}
                schema_overrides:
                  - {path: token, schema: {contentMediaType: oomol/secret}}
                  - {path: user, schema: {type: string}}
        """,
    )
    patch = load_flow(path).nodes[0].block["inputs_def_patch"]
    assert patch == {"x": [{"path": "token", "schema": {"contentMediaType": "oomol/secret"}}]}


def test_e3_an_input_that_wants_its_value_kept_marks_the_output_that_feeds_it(root: Path) -> None:
    """Upstream, the mark is set on a copy that is never sent."""
    path = flow(
        root,
        """
        nodes:
          - {node_id: a, task: self::inc, inputs_from: [{handle: x, value: 1}]}
          - node_id: b
            task: self::inc
            inputs_from:
              - {handle: x, serialize_for_cache: true, from_node: [{node_id: a, output_handle: y}]}
        """,
    )
    plan = load_flow(path)
    assert plan.node("a").block["outputs_def"] == [{"handle": "y", "_serialize_for_cache": True}]
    assert plan.node("b").block["outputs_def"] == [{"handle": "y"}]


def test_b26_a_boolean_schema_is_a_schema(root: Path) -> None:
    """Upstream, ``json_schema: true`` crashes the block."""
    block(root, "any", more="inputs_def: []\n".replace("inputs_def: []\n", ""))
    write(root / "blocks/any/block.oo.yaml", "executor: {name: python, options: {entry: main.py}}\n"
          "inputs_def: [{handle: x, json_schema: true}]\noutputs_def: [{handle: y, json_schema: true}]\n")  # fmt: skip
    path = flow(root, "nodes: [{node_id: n, task: self::any, inputs_from: [{handle: x, value: 1}]}]\n")
    assert load_flow(path).nodes[0].block["inputs_def"] == [{"handle": "x", "json_schema": True}]


@pytest.mark.parametrize("allowed", ["true", "{json_schema: {type: string}}", "false"])
def test_additional_handles_need_the_blocks_consent(root: Path, allowed: str) -> None:
    block(root, "open", "x", "y", more=f"additional_inputs: {allowed}\nadditional_outputs: {allowed}\n")
    path = flow(
        root,
        """
        nodes:
          - node_id: n
            task: self::open
            inputs_def: [{handle: more}]
            outputs_def: [{handle: further}]
            inputs_from: [{handle: x, value: 1}, {handle: more, value: 2}]
          - {node_id: m, task: self::inc, inputs_from: [{handle: x, from_node: [{node_id: n, output_handle: further}]}]}
        """,
    )
    if allowed == "false":
        assert [line for _, line, _ in problems(path)] == [7]
        return
    spec = load_flow(path).node("n").block
    assert spec["inputs_def"][1] == {"handle": "more", "is_additional": True}
    assert spec["outputs_def"][1] == {"handle": "further", "is_additional": True}


# ---------------------------------------------------------------------- var values join nodes


def test_a_var_value_joins_the_nodes_that_it_passes_through_conditions_and_subflows(root: Path) -> None:
    block(root, "make", "", "v:var plain")
    block(root, "use", "v", "y:var")
    write(
        root / "subflows/inner/subflow.oo.yaml",
        """
        inputs_def: [{handle: v}]
        nodes: [{node_id: u, task: self::use, inputs_from: [{handle: v, from_flow: [{input_handle: v}]}]}]
        outputs_from: [{handle: y, from_node: [{node_id: u, output_handle: y}]}]
        """,
    )
    path = flow(
        root,
        """
        nodes:
          - {node_id: a, task: self::make}
          - node_id: if
            inputs_def: [{handle: v}]
            conditions: {cases: [], default: {handle: go}}
            inputs_from: [{handle: v, from_node: [{node_id: a, output_handle: v}]}]
          - node_id: s
            subflow: self::inner
            inputs_from: [{handle: v, from_node: [{node_id: if, output_handle: go}]}]
          - {node_id: b, task: self::use, inputs_from: [{handle: v, from_node: [{node_id: s, output_handle: y}]}]}
          - {node_id: c, task: self::use, inputs_from: [{handle: v, from_node: [{node_id: a, output_handle: plain}]}]}
        """,
    )
    plan = load_flow(path)
    groups = {node.node_id: node.group for node in (*plan.nodes, *plan.flows["mine::inner"].nodes)}
    assert groups["a"] == groups["b"] == groups["u"]
    assert str(groups["a"]).startswith("*")
    assert groups["c"] is None


def test_nodes_roam_unless_what_comes_of_them_meets_another_var_value(root: Path) -> None:
    block(root, "make", "", "v:var w:var")
    block(root, "pass", "v:var", "v:var")
    block(root, "both", "v:var w:var", "v:var")

    def takes(node_id: str, task: str, **inputs: str) -> str:
        sources = [
            f"{{handle: {handle}, from_node: [{{node_id: {source.partition('.')[0]},"
            f" output_handle: {source.partition('.')[2]}}}]}}"
            for handle, source in inputs.items()
        ]
        return f"  - {{node_id: {node_id}, task: self::{task}, inputs_from: [{', '.join(sources)}]}}\n"

    plan = load_flow(
        flow(
            root,
            "nodes:\n  - {node_id: a, task: self::make}\n  - {node_id: f, task: self::make}\n"
            + takes("b", "pass", v="a.v")
            + takes("c", "pass", v="a.v")
            + takes("j", "both", v="b.v", w="f.w")
            + takes("k", "pass", v="j.v"),
        )
    )
    assert {node.node_id for node in plan.nodes if node.roams} == {"c", "j", "k"}
    assert len({node.group for node in plan.nodes}) == 1
    again = Plan.from_json(plan.to_json())
    assert [node.roams for node in again.nodes] == [node.roams for node in plan.nodes]


def test_a_var_value_within_a_subflow_joins_for_each_run_of_it(root: Path) -> None:
    block(root, "make", "", "v:var")
    block(root, "use", "v", "y")
    write(
        root / "subflows/inner/subflow.oo.yaml",
        """
        nodes:
          - {node_id: m, task: self::make}
          - {node_id: u, task: self::use, inputs_from: [{handle: v, from_node: [{node_id: m, output_handle: v}]}]}
        """,
    )
    plan = load_flow(flow(root, "nodes: [{node_id: s, subflow: self::inner}]\n"))
    groups = {node.group for node in plan.flows["mine::inner"].nodes}
    assert len(groups) == 1
    assert not str(groups.pop()).startswith("*")


def test_a_var_value_reaches_a_slots_provider(mapping: Path) -> None:
    block(mapping, "inc", "x", "y:var")
    block(mapping, "double", "item", "result:var")
    plan = load_flow(
        flow(
            mapping,
            providing("{slot_node_id: apply, task: self::double}") + "  - {node_id: e, task: self::inc,"
            " inputs_from: [{handle: x, from_node: [{node_id: m, output_handle: out}]}]}\n",
        )
    )
    provider = plan.node("m").slots["apply"]
    assert provider.group == plan.flows["mine::map"].node("each").group == plan.node("e").group
    assert str(provider.group).startswith("*")


def test_main_is_not_run_while_loading(root: Path) -> None:
    block(root, "loud", "", "o", source="raise SystemExit('it was run')\n" + MAIN)
    assert load_flow(flow(root, "nodes: [{node_id: n, task: self::loud}]\n")).nodes[0].node_id == "n"


def test_blocks_may_ask_by_bare_names_in_search_directories_and_by_self_in_a_layout_within_a_package(
    tmp_path: Path,
) -> None:
    root = tmp_path / "all"
    write(root / "package.oo.yaml", "name: all\nversion: 1.0.0\n")
    block(root / "workspace", "own", "", "y")
    block(tmp_path / "elsewhere", "other", "", "y")
    block(tmp_path / "direct" / "..", "unrelated", "", "y")
    write(root / "workspace/flows/f/beside/main.py", MAIN)
    write(root / "workspace/flows/f/beside/block.oo.yaml", "executor: {name: python, options: {entry: main.py}}\n")
    path = write(root / "workspace/flows/f/flow.oo.yaml", "nodes: [{node_id: n, task: self::own}]\n")
    plan = load_flow(path, search_paths=[tmp_path / "elsewhere", tmp_path / "elsewhere/blocks"])
    found = {name: plan.find(None, name) for name in ("self::own", "own", "other", "beside", "unrelated", "nothing")}
    files = {name: Path(plan.catalog[key].block["path"]).parent.name if key else None for name, key in found.items()}
    assert files == {
        "self::own": "own",
        "own": "own",
        "other": "other",
        "beside": "beside",
        "unrelated": None,
        "nothing": None,
    }
    # Each file once, however many places lead to it.
    paths = [entry.block["path"] for entry in plan.catalog.values()]
    assert len(paths) == len(set(paths))
