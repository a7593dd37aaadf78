"""Where the code of the engine's jobs is."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncblock.bridge.blockplaces import digest_of, place_of


@pytest.fixture
def package(tmp_path: Path) -> Path:
    root = tmp_path / "package"
    (root / "blocks" / "a").mkdir(parents=True)
    (root / "package.oo.yaml").touch()
    return root


def test_a_block_is_in_the_package_that_the_executor_is_for(package: Path, tmp_path: Path) -> None:
    found = place_of(str(package / "blocks" / "a"), {"entry": "../both/main.py", "function": "f"}, package)
    assert (found.root, found.dir, found.entry, found.function) == (package, "blocks/a", "blocks/both/main.py", "f")
    assert found.digest == digest_of(package) != digest_of(tmp_path)


def test_a_block_of_another_package_has_that_ones_root(package: Path, tmp_path: Path) -> None:
    other = tmp_path / "workspace"
    other.mkdir()
    found = place_of(str(package / "blocks" / "a"), {}, other)
    assert (found.root, found.entry, found.function) == (package, "blocks/a/index.py", "main")


def test_code_outside_of_its_package_is_found_all_the_same(package: Path, tmp_path: Path) -> None:
    found = place_of(str(package / "blocks" / "a"), {"entry": "../../../shared/main.py"}, package)
    assert found.root / found.entry == tmp_path / "shared" / "main.py"
    assert found.root == tmp_path


def test_a_directory_without_a_package_is_its_own(tmp_path: Path) -> None:
    found = place_of(str(tmp_path), {"entry": "a.py"}, None)
    assert (found.root, found.dir, found.entry) == (tmp_path, ".", "a.py")
