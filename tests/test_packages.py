"""Packages on disk: which files make the hash that says which package it is."""

from __future__ import annotations

from pathlib import Path

from asyncblock.packages import package_hash
from asyncblock.server.journal.datadir import DataDir
from asyncblock.server.journal.sqlite import SqliteJournal


def a_package(root: Path) -> Path:
    (root / "blocks" / "one").mkdir(parents=True)
    (root / "package.oo.yaml").write_text("name: p\n")
    (root / "blocks" / "one" / "main.py").write_text("def main(): ...\n")
    return root


def test_the_hash_changes_with_a_files_name_and_content(tmp_path: Path) -> None:
    root = a_package(tmp_path / "p")
    hashes = {package_hash(root)}
    (root / "blocks" / "one" / "main.py").write_text("def main(): pass\n")
    hashes.add(package_hash(root))
    (root / "blocks" / "one" / "main.py").rename(root / "blocks" / "one" / "other.py")
    hashes.add(package_hash(root))
    assert len(hashes) == 3


def test_hidden_and_compiled_files_make_no_difference(tmp_path: Path) -> None:
    root = a_package(tmp_path / "p")
    before = package_hash(root)
    for name in (".git/HEAD", "blocks/__pycache__/main.txt", "blocks/one/main.pyc", ".hidden"):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    assert package_hash(root) == before


async def test_a_data_directory_inside_makes_no_difference(tmp_path: Path) -> None:
    root = a_package(tmp_path / "p")
    before = package_hash(root)
    with DataDir.open(root / "data") as place:
        journal = await SqliteJournal.open(place)
        assert package_hash(root) == before
        await journal.close()
    assert package_hash(root) == before
