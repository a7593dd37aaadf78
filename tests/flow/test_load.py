"""Loading: every problem at once, each with file and line."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from asyncblock.errors import InvalidFlow
from asyncblock.flow import Plan, load_flow
from asyncblock.flow.plan import Source
from asyncblock.flow.yamlfile import MAX_FILE

MAIN = "async def main(inputs, ctx):\n    pass\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with a block ``add`` (inputs a, b; output sum) and a directory for a flow."""
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: mine\nversion: 1.0.0\n")
    write(
        root / "blocks/add/block.oo.yaml",
        """
        executor: {name: python, options: {entry: main.py}}
        inputs_def:
          - {handle: a}
          - {handle: b, value: 7}
          - {group: more}
          - {handle: c, nullable: true}
        outputs_def: [{handle: sum}]
        """,
    )
    write(root / "blocks/add/main.py", MAIN)
    return root


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip("\n"))
    return path


def flow(root: Path, text: str) -> Path:
    return write(root / "flows/f/flow.oo.yaml", text)


def problems(path: Path) -> list[tuple[int | None, str]]:
    with pytest.raises(InvalidFlow) as caught:
        load_flow(path)
    return [(problem.line, problem.message) for problem in caught.value.problems]


def test_a_flow_is_resolved_with_packages_defaults_and_connections(package: Path) -> None:
    path = flow(
        package,
        """
        title: two
        inputs_def: [{handle: start, value: 1}]
        nodes:
          - node_id: one
            task: self::add
            inputs_from:
              - {handle: a, from_flow: [{input_handle: start}]}
          - node_id: two
            concurrency: 3
            timeout: 1.5
            task: ../../blocks/add
            inputs_from:
              - {handle: a, from_node: [{node_id: one, output_handle: sum}]}
              - {handle: b, value: 9}
        outputs_from: [{handle: end, from_node: [{node_id: two, output_handle: sum}]}]
        """,
    )
    plan = load_flow(path)
    one, two = plan.nodes
    assert one.inputs["a"].sources == (Source(None, "start"),)
    assert (one.inputs["b"].has_value, one.inputs["b"].value) == (True, 7)
    assert (one.inputs["c"].has_value, one.inputs["c"].value) == (True, None)
    assert (two.concurrency, two.timeout) == (3, 1.5)
    assert two.inputs["b"].value == 9
    assert plan.outputs == {"end": (Source("two", "sum"),)}
    assert one.block["package"] == "mine"
    assert one.block["entry"] == "blocks/add/main.py"
    assert list(plan.roots.values()) == [package]
    assert str(package) not in str(plan.to_json()["nodes"][0])
    assert Plan.from_json(plan.to_json()) == plan


def test_the_hash_says_which_package_it_is(package: Path) -> None:
    path = flow(package, "nodes: [{node_id: n, task: self::add, inputs_from: [{handle: a, value: 1}]}]\n")
    before = load_flow(path).nodes[0].block["hash"]
    (package / "blocks/add/__pycache__").mkdir()
    (package / "blocks/add/__pycache__/main.pyc").write_bytes(b"x")
    assert load_flow(path).nodes[0].block["hash"] == before
    (package / "blocks/add/helper.py").write_text("")
    assert load_flow(path).nodes[0].block["hash"] != before


@pytest.mark.parametrize(
    "reference", ["self::add", "../../blocks/add", "../../blocks/add/block.oo.yaml", "mine::add", "add"]
)
def test_blocks_are_found_in_each_form_of_reference(package: Path, reference: str) -> None:
    path = flow(package, f"nodes: [{{node_id: n, task: '{reference}', inputs_from: [{{handle: a, value: 1}}]}}]\n")
    search = [package.parent / "installed", package]
    write(search[0] / "mine-1.2.0/blocks/add/block.oo.yaml", (package / "blocks/add/block.oo.yaml").read_text())
    write(search[0] / "mine-1.2.0/blocks/add/main.py", MAIN)
    assert load_flow(path, search_paths=search).nodes[0].block["function"] == "main"


def test_value_nodes_become_constants_of_those_who_take_them(package: Path) -> None:
    path = flow(
        package,
        """
        nodes:
          - {node_id: v, values: [{handle: k, value: 42}]}
          - node_id: n
            task: self::add
            inputs_from: [{handle: a, from_node: [{node_id: v, output_handle: k}]}]
        """,
    )
    [node] = load_flow(path).nodes
    assert node.inputs["a"].value == 42


def test_ignored_nodes_are_not_there(package: Path) -> None:
    path = flow(
        package,
        """
        nodes:
          - {node_id: n, task: self::add, inputs_from: [{handle: a, value: 1}]}
          - {node_id: gone, ignore: true, task: self::nothing}
        """,
    )
    assert [node.node_id for node in load_flow(path).nodes] == ["n"]


def test_line_separators_of_editors_do_not_matter(package: Path) -> None:
    path = flow(
        package, "title: a\u2028b\nnodes: [{node_id: n, task: self::add, inputs_from: [{handle: a, value: 1}]}]\n"
    )
    assert load_flow(path).title == "ab"


WRONG = {
    "not yaml": ("nodes: [", 2, "not valid YAML"),
    "a list": ("- a\n", 1, "must hold a mapping"),
    "empty file": ("", 1, "must hold a mapping"),
    "no nodes": ("title: x\n", 1, "needs 'nodes'"),
    "no node": ("nodes: []\n", 1, "the flow is empty"),
    "only values": ("nodes: [{node_id: v, values: []}]\n", 1, "the flow is empty"),
    "duplicate key": ("nodes: []\ntitle: a\ntitle: b\n", 3, "'title' stands here and in line 2"),
    "merge key": ("a: &x {b: 1}\nc: {<<: *x}\nnodes: []\n", 2, "merge keys"),
    "alias loop": ("nodes: &x [*x]\n", 1, "contains itself"),
    "no node id": ("nodes:\n  - task: self::add\n", 2, "needs a 'node_id'"),
    "two kinds": ("nodes:\n  - {node_id: n, task: self::add, values: []}\n", 2, "exactly one of"),
    "no kind": ("nodes:\n  - {node_id: n}\n", 2, "it has none"),
    "subflow": ("nodes:\n  - {node_id: n, subflow: self::x}\n", 2, "there is no subflow 'self::x'"),
    "unknown block": ("nodes:\n  - {node_id: n, task: self::nope}\n", 2, "there is no block 'self::nope'"),
    "unknown executor": (
        "nodes:\n  - node_id: n\n    task:\n      executor: {name: rust}\n",
        4,
        "executor 'rust' can't be run here",
    ),
    "no executor": ("nodes:\n  - node_id: n\n    task: {inputs_def: []}\n", 3, "needs 'executor'"),
    "missing entry": (
        "nodes:\n  - node_id: n\n    task:\n      executor:\n        name: python\n        options:\n          entry: no.py\n",
        7,
        "entry file 'no.py' isn't there",
    ),
    "unknown input": (
        "nodes:\n  - node_id: n\n    task: self::add\n    inputs_from:\n      - {handle: b, value: 1}\n      - {handle: z, value: 1}\n",
        6,
        "declares no input 'z'; there is 'a', 'b', 'c'",
    ),
    "unfed input": ("nodes:\n  - {node_id: n, task: self::add}\n", 2, "nothing feeds its input 'a'"),
    "unknown source": (
        "nodes:\n  - node_id: n\n    task: self::add\n    inputs_from:\n"
        "      - {handle: a, from_node: [{node_id: m, output_handle: sum}]}\n",
        5,
        "there is no node 'm'",
    ),
    "unknown output": (
        "nodes:\n  - {node_id: m, task: self::add, inputs_from: [{handle: a, value: 1}]}\n  - node_id: n\n"
        "    task: self::add\n    inputs_from:\n      - {handle: a, from_node: [{node_id: m, output_handle: zum}]}\n",
        6,
        "declares no output 'zum'; there is 'sum'",
    ),
    "unknown flow input": (
        "nodes:\n  - node_id: n\n    task: self::add\n    inputs_from:\n"
        "      - {handle: a, from_flow: [{input_handle: q}]}\n",
        5,
        "the flow declares no input 'q'",
    ),
    "id twice": (
        "nodes:\n  - {node_id: n, task: self::add, inputs_from: [{handle: a, value: 1}]}\n"
        "  - {node_id: n, task: self::add, inputs_from: [{handle: a, value: 1}]}\n",
        3,
        "'n' is used twice (first in line 2)",
    ),
    "cycle": (
        "nodes:\n"
        "  - {node_id: m, task: self::add, inputs_from: [{handle: a, from_node: [{node_id: n, output_handle: sum}]}]}\n"
        "  - {node_id: n, task: self::add, inputs_from: [{handle: a, from_node: [{node_id: m, output_handle: sum}]}]}\n",
        1,
        "can never start: m, n",
    ),
    "concurrency": (
        "nodes:\n  - node_id: n\n    concurrency: many\n    task: self::add\n    inputs_from: [{handle: a, value: 1}]\n",
        3,
        "'concurrency' must be an integer",
    ),
    "timeout": (
        "nodes:\n  - node_id: n\n    timeout: -1\n    task: self::add\n    inputs_from: [{handle: a, value: 1}]\n",
        3,
        "'timeout' must be a number of seconds",
    ),
    "operator": (
        "nodes:\n  - node_id: n\n    conditions:\n      cases:\n        - handle: y\n          expressions:\n"
        "            - {input_handle: x, operator: like, value: 1}\n",
        7,
        "unknown operator 'like'",
    ),
    "operator type": (
        "nodes:\n  - node_id: n\n    conditions:\n      cases:\n        - handle: y\n          expressions:\n"
        "            - {input_handle: x, operator: '>', value: a}\n",
        7,
        "'>' compares with integer or number, not with 'a'",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_flow_that_cannot_be_run_says_where_and_why(package: Path, name: str) -> None:
    text, line, words = WRONG[name]
    path = write(package / "flows/f/flow.oo.yaml", text)
    found = problems(path)
    assert any(words in message and where == line for where, message in found), found


def test_all_problems_are_reported_at_once_in_the_order_of_lines(package: Path) -> None:
    path = flow(
        package,
        """
        nodes:
          - {node_id: a, task: self::nope}
          - {node_id: b, task: self::add, concurrency: x, inputs_from: [{handle: z, value: 1}]}
          - {node_id: b, slot: {}}
        """,
    )
    found = problems(path)
    assert len(found) == 6
    assert [line for line, _ in found] == sorted(line or 0 for line, _ in found)


def test_a_missing_function_is_found_without_running_the_file(package: Path) -> None:
    (package / "blocks/add/main.py").write_text("raise RuntimeError('not to be run')\ndef other(): ...\n")
    path = flow(package, "nodes: [{node_id: n, task: self::add, inputs_from: [{handle: a, value: 1}]}]\n")
    [(_, message)] = problems(path)
    assert "has no function 'main'; it has other" in message


def test_a_syntax_error_in_the_entry_is_found_with_its_line(package: Path) -> None:
    (package / "blocks/add/main.py").write_text("def main(:\n")
    path = flow(package, "nodes: [{node_id: n, task: self::add, inputs_from: [{handle: a, value: 1}]}]\n")
    [(_, message)] = problems(path)
    assert "main.py:1:" in message


def test_files_that_are_too_large_or_not_utf8_are_refused(package: Path) -> None:
    path = flow(package, "nodes: []\n")
    path.write_bytes(b"title: \xff\n")
    assert "isn't UTF-8" in problems(path)[0][1]
    path.write_bytes(b"#" * (MAX_FILE + 1))
    assert str(MAX_FILE) in problems(path)[0][1]


def test_aliases_that_stand_for_too_much_are_refused(package: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    path = write(package / "flows/f/flow.oo.yaml", "\n".join(lines))
    assert "too many values" in problems(path)[0][1]


def test_a_flow_that_is_not_there_says_so(tmp_path: Path) -> None:
    assert "no such flow" in problems(tmp_path / "nope.yaml")[0][1]
    assert "holds no flow.oo.yaml" in problems(tmp_path)[0][1]


@pytest.mark.parametrize(
    ("inputs", "words"), [({}, "input 'start' is required"), ({"start": 1, "stop": 2}, "has no input 'stop'")]
)
def test_inputs_are_checked_against_what_the_flow_declares(
    package: Path, inputs: dict[str, object], words: str
) -> None:
    path = flow(
        package,
        """
        inputs_def: [{handle: start}]
        nodes: [{node_id: n, task: self::add, inputs_from: [{handle: a, from_flow: [{input_handle: start}]}]}]
        """,
    )
    with pytest.raises(InvalidFlow, match=words):
        load_flow(path, inputs=inputs)


@pytest.mark.parametrize("spawns", ["producer", "consumer"])
def test_var_values_come_to_a_process_of_a_blocks_own_and_none_of_it(package: Path, spawns: str) -> None:
    var = "json_schema: {contentMediaType: oomol/var}"
    task = "{executor: {name: python, options: {entry: m.py, spawn: %s}}, inputs_def: [%s], outputs_def: [{handle: o, %s}]}"
    first, second = ("true", "false") if spawns == "producer" else ("false", "true")
    write(package / "flows/f/m.py", MAIN)
    path = flow(
        package,
        f"nodes:\n  - {{node_id: a, task: {task % (first, '', var)}}}\n"
        f"  - {{node_id: b, task: {task % (second, '{handle: x}', var)},"
        " inputs_from: [{handle: x, from_node: [{node_id: a, output_handle: o}]}]}\n",
    )
    if spawns == "consumer":
        assert [node.node_id for node in load_flow(path).nodes] == ["a", "b"]
        return
    [(line, message)] = problems(path)
    assert line == 2
    assert "which ends with its job: no var value of it can come to input 'x' of 'b'" in message


MALFORMED = [
    (lambda obj: obj.update(version=2), "unknown version"),
    (lambda obj: obj.update(nodes=[]), "nodes"),
    (lambda obj: obj["nodes"].append(dict(obj["nodes"][0])), "stands twice"),
    (lambda obj: obj["nodes"][0].update(kind="rocket"), "kind"),
    (lambda obj: obj["nodes"][0].update(concurrency="1"), "concurrency"),
    (lambda obj: obj["blocks"][0].pop("hash"), "block.hash"),
    (lambda obj: obj["blocks"][0].update(entry="../../etc/passwd"), "leads out of its package"),
    (lambda obj: obj["blocks"][0].update(dir="/etc"), "leads out of its package"),
    (lambda obj: obj["nodes"][0]["inputs"]["a"].update(sources=[["zz", "o"]]), "a source names zz"),
    (lambda obj: obj["nodes"][0]["inputs"]["a"].update(sources="x"), "list of sources"),
    (lambda obj: obj.update(outputs=[]), "outputs"),
]


@pytest.mark.parametrize(("spoil", "words"), MALFORMED, ids=[words for _, words in MALFORMED])
def test_a_plan_from_outside_is_checked(package: Path, spoil: object, words: str) -> None:
    path = flow(package, "nodes: [{node_id: n, task: self::add, inputs_from: [{handle: a, value: 1}]}]\n")
    obj = load_flow(path).to_json()
    assert callable(spoil)
    spoil(obj)
    with pytest.raises(InvalidFlow, match=words):
        Plan.from_json(obj)


@pytest.mark.parametrize("obj", [None, 1, [], "x", {}])
def test_what_is_no_plan_is_refused(obj: object) -> None:
    with pytest.raises(InvalidFlow):
        Plan.from_json(obj)
