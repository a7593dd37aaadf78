"""Files that can't be read: each refused with the node that needs it, the file and the reason, in bounded time."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from asyncblock.flow import load_flow

from .packages import MAIN, block, problems, write

NODE = "nodes: [{node_id: n, task: self::b}]\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A package with a block ``b``, and a flow of it."""
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: mine\n")
    block(root, "b")
    write(root / "flows/f/flow.oo.yaml", NODE)
    return root


FIFTY_MB = 50 << 20


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("flows/f/flow.oo.yaml", ""),
        ("blocks/b/block.oo.yaml", "node 'n': "),
        ("subflows/s/subflow.oo.yaml", "node 's': "),
        ("services/v/service.oo.yaml", "node 'v': "),
        ("package.oo.yaml", ""),
    ],
)
def test_a_file_of_50_mb_is_refused_at_once(root: Path, name: str, who: str) -> None:
    write(
        root / "flows/f/flow.oo.yaml",
        "nodes:\n  - {node_id: n, task: self::b}\n  - {node_id: s, subflow: self::s}\n"
        "  - {node_id: v, service: self::v::x}\n",
    )
    write(root / "subflows/s/subflow.oo.yaml", NODE)
    write(root / "services/v/service.oo.yaml", "executor: {name: python, entry: i.py}\nblocks: [{name: x}]\n")
    write(root / "services/v/i.py", "def main(service):\n    pass\n")
    line = b"  - {node_id: abcdefgh, task: self::b, inputs_from: [{handle: x, value: 1}]}\n"
    path = root / name
    path.write_bytes(b"nodes:\n" + line * (FIFTY_MB // len(line)))
    size = path.stat().st_size
    assert size > 49 << 20
    tracemalloc.start()
    begun = time.monotonic()
    found = problems(root / "flows/f")
    taken = time.monotonic() - begun
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (path.name, None, f"{who}the file has {size} bytes; the limit is {4 << 20}") in found
    assert peak < 10 << 20
    assert taken < 5


@pytest.mark.parametrize("name", ["blocks/b/block.oo.yaml", "blocks/b/main.py"])
def test_a_block_s_files_that_are_not_utf_8_are_refused_with_the_node(root: Path, name: str) -> None:
    path = root / name
    path.write_bytes(b"# caf\xe9\n" + path.read_bytes())
    [(file, _, words)] = problems(root / "flows/f")
    assert file == "block.oo.yaml"
    assert words.startswith("node 'n': ")
    assert "isn't UTF-8" in words
    assert path.name == file or str(path) in words


def test_a_subflows_file_that_is_not_utf_8_is_refused_with_the_node(root: Path) -> None:
    write(root / "flows/f/flow.oo.yaml", "nodes: [{node_id: s, subflow: self::s}]\n")
    path = write(root / "subflows/s/subflow.oo.yaml", NODE)
    path.write_bytes(b"title: \xff\n")
    assert problems(root / "flows/f") == [("subflow.oo.yaml", None, "node 's': the file isn't UTF-8 (byte 7)")]


def test_line_separators_in_a_blocks_file_do_not_matter(root: Path) -> None:
    path = root / "blocks/b/block.oo.yaml"
    path.write_text("description: a\u2028b\u2029c\n" + path.read_text(), "utf-8")
    (root / "blocks/b/main.py").write_text("# a\u2028b\n" + MAIN, "utf-8")
    write(root / "flows/f/flow.oo.yaml", NODE + "  \u2028\n")
    with pytest.raises(pytest.fail.Exception):
        problems(root / "flows/f")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("executor: {name: python}\nexecutor: {name: shell}\n", 2, "'executor' stands here and in line 1"),
        ("a: &a [1]\nexecutor: *b\n", 2, "there is no anchor 'b'"),
        ("executor: [\n", 2, "not valid YAML"),
        ("title: x\n", 1, "needs 'executor'"),
        ("executor: {name: python, options: {entry: gone.py}}\n", 1, "'gone.py' isn't there"),
    ],
)
def test_what_is_wrong_with_a_blocks_file_is_told_with_the_node_and_the_line(
    root: Path, text: str, line: int, words: str
) -> None:
    write(root / "blocks/b/block.oo.yaml", text)
    [(file, where, message)] = problems(root / "flows/f")
    assert (file, where) == ("block.oo.yaml", line)
    assert message.startswith("node 'n': ")
    assert words in message


def test_a_directory_and_a_file_that_may_not_be_read_are_refused(root: Path) -> None:
    (root / "blocks/b/block.oo.yaml").unlink()
    (root / "blocks/b/block.oo.yaml").mkdir()
    assert problems(root / "flows/f") == [("flow.oo.yaml", 1, "node 'n': there is no block 'self::b'")]


def test_a_number_as_a_node_id_is_a_name(root: Path) -> None:
    path = write(root / "flows/f/flow.oo.yaml", "nodes: [{node_id: 1, task: self::b}]\n")
    assert load_flow(path).nodes[0].node_id == "1"


@pytest.mark.parametrize(
    ("file", "old", "new", "line", "words"),
    [
        ("flows/f/flow.oo.yaml", "inputs_from", "input_from", 3, "node 'n': 'input_from' means nothing here and is ignored. Did you mean 'inputs_from'?"),
        ("flows/f/flow.oo.yaml", "value", "valeu", 3, "node 'n', input 'x': 'valeu' means nothing here and is ignored. Did you mean 'value'?"),
        ("flows/f/flow.oo.yaml", "task", "taks", 2, "node 'n': 'taks' means nothing here and is ignored. Did you mean 'task'?"),
        ("flows/f/flow.oo.yaml", "nodes", "node", 1, "the flow: 'node' means nothing here and is ignored. Did you mean 'nodes'?"),
        ("blocks/b/block.oo.yaml", "executor", "excutor", 1, "node 'n': 'excutor' means nothing here and is ignored. Did you mean 'executor'?"),
    ],
)  # fmt: skip
def test_a_key_that_is_nearly_one_is_named_beside_what_comes_of_it(
    root: Path, file: str, old: str, new: str, line: int, words: str
) -> None:
    block(root, "b", "x")
    write(
        root / "flows/f/flow.oo.yaml",
        "nodes:\n  - {node_id: n, task: self::b,\n     inputs_from: [{handle: x, value: 1}]}\n",
    )
    text = (root / file).read_text()
    (root / file).write_text(text.replace(old, new))
    found = problems(root / "flows/f")
    assert (Path(file).name, line, words) in found
    assert len(found) > 1


def test_a_block_that_is_not_there_is_told_with_those_that_are(root: Path) -> None:
    write(root / "flows/f/flow.oo.yaml", "nodes: [{node_id: n, task: self::c}]\n")
    assert problems(root / "flows/f") == [
        ("flow.oo.yaml", 1, "node 'n': there is no block 'self::c'; there is 'self::b'")
    ]


def test_a_node_id_that_no_mainframe_takes_is_told_with_its_line(root: Path) -> None:
    write(root / "flows/f/flow.oo.yaml", f"nodes:\n  - {{node_id: {'x' * 200}, task: self::b}}\n")
    load_flow(root / "flows/f")
    write(root / "flows/f/flow.oo.yaml", f"nodes:\n  - {{node_id: {'x' * 201}, task: self::b}}\n")
    words = f"the node id {'x' * 40!r}... has 201 characters; 200 may be"
    assert ("flow.oo.yaml", 2, words) in problems(root / "flows/f")
