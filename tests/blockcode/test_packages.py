"""Packages on disk: which files make the hash that says which code a package holds."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncblock.blockcode.packages import edit_mark, package_hash
from asyncblock.errors import Unavailable
from asyncblock.server.journal.datadir import DataDir
from asyncblock.server.journal.sqlite import SqliteJournal


def a_package(root: Path) -> Path:
    (root / "blocks" / "one").mkdir(parents=True)
    (root / "package.oo.yaml").write_text("name: p\n")
    (root / "blocks" / "one" / "main.py").write_text("def main(): ...\n")
    return root


def write(root: Path, name: str, text: str = "x") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_hash_changes_with_a_source_s_name_and_content(tmp_path: Path) -> None:
    root = a_package(tmp_path / "p")
    hashes = {package_hash(root)}
    (root / "blocks" / "one" / "main.py").write_text("def main(): pass\n")
    hashes.add(package_hash(root))
    (root / "blocks" / "one" / "main.py").rename(root / "blocks" / "one" / "other.py")
    hashes.add(package_hash(root))
    assert len(hashes) == 3


CODE = ("lib/helper.py", "blocks/one/run.sh", "blocks/one/block.oo.yaml", "services/s/service.oo.yml", "native.abi3.so")


@pytest.mark.parametrize("name", CODE)
def test_what_blocks_run_counts(tmp_path: Path, name: str) -> None:
    root = a_package(tmp_path / "p")
    hashes = {package_hash(root), (write(root, name, "a = 1\n"), package_hash(root))[1]}
    write(root, name, "a = 2\n")
    hashes.add(package_hash(root))
    assert len(hashes) == 3


NO_CODE = (
    *("out.json", "data/rows.csv", "blocks/one/result.parquet", "README.md"),
    *(".git/HEAD", ".hidden.py", ".ipynb_checkpoints/main-checkpoint.py", "blocks/one/.main.py.swp", "main.py~"),
    *("blocks/__pycache__/main.py", "blocks/one/main.pyc", ".venv/lib/x.py", "env/pyvenv.cfg", "env/lib/x.py"),
    *("node_modules/a/setup.py", "flows/f/flow.oo.yaml", "subflows/s/subflow.oo.yml", "blocks/one/module.js"),
)


@pytest.mark.parametrize("name", NO_CODE)
def test_what_no_block_runs_makes_no_difference(tmp_path: Path, name: str) -> None:
    root = a_package(tmp_path / "p")
    before = package_hash(root)
    write(root, "env/pyvenv.cfg") if name.startswith("env") else None
    write(root, name)
    assert package_hash(root) == before


def test_an_edit_s_mark_knows_flows_too(tmp_path: Path) -> None:
    root = a_package(tmp_path / "p")
    before = edit_mark(root)
    write(root, "out.json")
    assert edit_mark(root) == before
    write(root, "flows/f/flow.oo.yaml")
    assert edit_mark(root) != before


async def test_a_data_directory_inside_makes_no_difference(tmp_path: Path) -> None:
    root = a_package(tmp_path / "p")
    before = package_hash(root)
    with DataDir.open(root / "data") as place:
        write(root, "data/x.py")
        journal = await SqliteJournal.open(place)
        assert package_hash(root) == before
        await journal.close()
    assert package_hash(root) == before


def test_any_amount_of_data_is_no_code(tmp_path: Path) -> None:
    root = a_package(tmp_path / "p")
    before = package_hash(root)
    with (root / "large.bin").open("wb") as file:
        file.truncate(1 << 40)
    assert package_hash(root) == before


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path is short
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def _circle(path: Path) -> None:
    path.symlink_to(path.name)


def _unreadable(path: Path) -> None:
    path.write_text("a = 1")
    path.chmod(0)


def _closed_directory(path: Path) -> None:
    path.mkdir()
    path.chmod(0)


ODD = (_fifo, _socket, _dangling, _circle, _unreadable, _closed_directory)


@pytest.mark.parametrize("name", ["odd", "odd.py", "odd.sh"])
@pytest.mark.parametrize("make", ODD)
def test_special_files_are_no_code_and_hold_nothing_up(tmp_path: Path, make: Callable[[Path], None], name: str) -> None:
    root = a_package(tmp_path / "p")
    before = package_hash(root)
    make(root / name)
    if make is _unreadable and os.access(root / name, os.R_OK):
        pytest.skip("this user reads everything")
    assert package_hash(root) == before
    if make is _closed_directory:
        (root / name).chmod(0o700)


def test_a_package_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="can't be read"):
        package_hash(tmp_path / "nowhere")


# ---------------------------------------------------------------------- syntax


SOURCE = '''"""Says something."""
import asyncio
async def main(inputs, ctx):
    if inputs["a"] and inputs["b"]:
        return {"text": f"{inputs['a']:>{inputs['b']}}", "n": 1_000}
'''
RELAID = '''#!/usr/bin/env python
# A comment.
"""Says something."""
import asyncio


async def main(
    inputs,
    ctx,  # the context
):

    if (inputs['a'] and inputs["b"]):
        return {
            "text": f"{inputs['a']:>{inputs['b']}}",
            'n': 1000,
        }
'''


def test_comments_and_layout_of_python_make_no_difference(tmp_path: Path) -> None:
    root = a_package(tmp_path / "p")
    main = root / "blocks" / "one" / "main.py"
    main.write_text(SOURCE)
    before = package_hash(root)
    for text in (RELAID, SOURCE.replace("\n", "\r\n"), SOURCE.replace("    ", "\t")):
        main.write_bytes(text.encode())
        assert package_hash(root) == before


CHANGES = [
    ("1_000", "1001"), ("1_000", "1000.0"), ('"n"', 'b"n"'), ("and", "or"), ("async def", "def"), ("Says", "Tells"),
    ("import asyncio", "import asyncio as a"), (":>", ":<"), ("(inputs, ctx)", "(inputs, ctx=None)"), ("    return", "        return 1\n    return"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_whatever_python_may_do_otherwise_makes_one(tmp_path: Path, old: str, new: str) -> None:
    root = a_package(tmp_path / "p")
    main = root / "blocks" / "one" / "main.py"
    main.write_text(SOURCE)
    before = package_hash(root)
    main.write_text(SOURCE.replace(old, new))
    assert package_hash(root) != before


def test_a_source_that_cannot_be_parsed_counts_by_its_bytes(tmp_path: Path) -> None:
    root = a_package(tmp_path / "p")
    main, hashes = root / "blocks" / "one" / "main.py", set()
    for source in (
        b"def main(:\n",
        b"def main(: # same\n",
        b"\0",
        b"\xff",
        b"(" * 10_000,
        b"x = " + b"-" * 200_000 + b"1",
    ):
        main.write_bytes(source)
        hashes.add(package_hash(root))
        assert package_hash(root) in hashes
    assert len(hashes) == 6


# ---------------------------------------------------------------------- what authors say


def test_entries_that_a_manifest_names_count_in_any_language(tmp_path: Path) -> None:
    root = a_package(tmp_path / "p")
    write(root, "blocks/js/block.oo.yaml", "executor: {name: nodejs, options: {entry: ../../dist/index.js}}\n")
    write(root, "flows/f/flow.oo.yaml", "nodes:\n- task: {executor: {name: rust, options: {entry: bin/run}}}\n")
    hashes = {package_hash(root)}
    for name in ("dist/index.js", "flows/f/bin/run"):
        write(root, name)
        hashes.add(package_hash(root))
    assert len(hashes) == 3


def test_an_author_includes_and_excludes_files(tmp_path: Path) -> None:
    root = a_package(tmp_path / "p")
    (root / "package.oo.yaml").write_text(
        'name: p\ncode:\n  include: ["prompts/*.txt", .config, "*.sql", "models/**/x.json"]\n'
        '  exclude: [tests, "scratch/**", "/generated.py", "gen_*.py"]\n'
    )
    before = package_hash(root)
    for name in ("tests/test_a.py", "blocks/one/tests/a.py", "scratch/a/b.py", "generated.py", "lib/gen_1.py",
                 "prompts/a/b.txt", "models/x.txt", "tests/a.sql"):  # fmt: skip
        write(root, name)
        assert package_hash(root) == before, name
    hashes = {before}
    included = ("prompts/a.txt", ".config/deep/file", "a.sql", "b/c.sql", "models/x.json", "models/a/b/x.json")
    for name in (*included, "lib/generated.py"):
        write(root, name)
        hashes.add(package_hash(root))
    assert len(hashes) == 8


@pytest.mark.parametrize(
    "code", ["[a]", "{includes: [a]}", "{include: a}", "{include: ['../x']}", "{exclude: [1]}", "{exclude: ['/']}"]
)
def test_patterns_that_cannot_be_meant_are_an_error(tmp_path: Path, code: str) -> None:
    root = a_package(tmp_path / "p")
    (root / "package.oo.yaml").write_text(f"name: p\ncode: {code}\n")
    with pytest.raises(Unavailable, match="code"):
        package_hash(root)


# ---------------------------------------------------------------------- links and packages in packages


def test_a_package_has_the_same_hash_wherever_and_through_whatever_link_it_is_seen(tmp_path: Path) -> None:
    root = a_package(tmp_path / "p")
    (tmp_path / "link").symlink_to(root)
    shutil.copytree(root, tmp_path / "copy")
    assert package_hash(tmp_path / "link") == package_hash(root) == package_hash(tmp_path / "copy")


def test_a_library_behind_a_link_counts_and_a_disk_of_data_is_not_looked_at(tmp_path: Path) -> None:
    root = a_package(tmp_path / "p")
    write(tmp_path, "shared/deep/tool.py", "a = 1")
    write(tmp_path, "shared/__init__.py", "")
    write(tmp_path, "disk/year/odd.py", "a = 1")
    (root / "shared").symlink_to(tmp_path / "shared")
    (root / "data").symlink_to(tmp_path / "disk")
    before = package_hash(root)
    write(tmp_path, "disk/year/odd.py", "a = 2")
    assert package_hash(root) == before
    shutil.copytree(root, tmp_path / "copy", ignore=shutil.ignore_patterns("data"))
    assert package_hash(tmp_path / "copy") == before
    write(tmp_path, "shared/deep/tool.py", "a = 2")
    assert package_hash(root) != before


def test_links_in_a_circle_have_an_end(tmp_path: Path) -> None:
    root = a_package(tmp_path / "p")
    (root / "blocks" / "one" / "up").symlink_to(root)
    (root / "blocks" / "one" / "here").symlink_to(".")
    assert package_hash(root)


def test_a_package_in_a_package_has_a_hash_of_its_own(tmp_path: Path) -> None:
    root = a_package(tmp_path / "p")
    inner = a_package(root / "packages" / "inner")
    before = package_hash(root), package_hash(inner)
    (inner / "blocks" / "one" / "main.py").write_text("def main(): return {}\n")
    assert package_hash(root) == before[0]
    assert package_hash(inner) != before[1]
