"""The wheel and the source distribution: what is in them, what they say of themselves, and that they run."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

from .building import PACKAGES, build, in_wheel, metadata
from .names import ROOT

pytestmark = pytest.mark.timeout(180)  # builds, and an installation

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source distribution of this tree."""
    return build(ROOT, tmp_path_factory.mktemp("dist"))


def test_the_wheel_has_the_packages_whole_and_nothing_else(built: tuple[Path, Path]) -> None:
    names = in_wheel(built[0])
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode == 0 and tracked.stdout:
        assert set(tracked.stdout.splitlines()) - names == set()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    assert "asyncblock/py.typed" in names
    assert not [name for name in names if name.endswith((".pyc", ".so")) or "__pycache__" in name]


def test_the_source_distribution_has_what_tests_and_documentation_need_and_makes_the_same_wheel(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    with tarfile.open(built[1]) as archive:
        top = {name.split("/")[1] for name in archive.getnames() if "/" in name}
        archive.extractall(tmp_path, filter="data")
    wanted = {"asyncblock", "blocks_of", "tests", "benchmarks", "docs", "changelog.d", "mkdocs.yml", "pyproject.toml"}
    assert top >= wanted | {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "PKG-INFO"}
    [source] = tmp_path.iterdir()
    wheel, _ = build(source, tmp_path / "again")
    assert in_wheel(wheel) == in_wheel(built[0])


def test_what_they_say_of_themselves_is_whole(built: tuple[Path, Path]) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    said = metadata(built[0])
    assert said["Name"] == "asyncblock"
    assert said["License-Expression"] == "MIT"
    assert said["Description-Content-Type"] == "text/markdown"
    assert set(said.get_all("Provides-Extra") or ()) == set(PROJECT["optional-dependencies"])
    assert {each for each in said.get_all("Classifier") or () if "Python :: 3." in each} == {
        f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)
    }


def test_the_wheel_runs_where_it_is_installed(built: tuple[Path, Path], tmp_path: Path) -> None:
    place = tmp_path / "site"
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(place), str(built[0])]
    subprocess.run([sys.executable, *install], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(place), "XDG_STATE_HOME": str(tmp_path)}
    where = "import asyncblock; print(asyncblock.__file__)"
    told = subprocess.run([sys.executable, "-c", where], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert told.stdout.startswith(str(place))
    command = [sys.executable, "-m", "asyncblock", "run", "topics"]
    ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
