"""The version is that of the tag, wherever it is built, and whoever is asked says what is installed."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest

import asyncblock

from .building import PACKAGES, build, metadata
from .names import ROOT

pytestmark = pytest.mark.timeout(180)  # builds, and installations


def git(place: Path, *arguments: str) -> str:
    who = (
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.org",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "tag.gpgsign=false",
    )
    return subprocess.run(["git", *who, *arguments], cwd=place, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with one commit and no tag: what of the project is built."""
    place = tmp_path / "tree"
    place.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore", ".gitattributes", ".git_archival.txt"):
        shutil.copy(ROOT / name, place)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    git(place, "init", "--quiet", "--initial-branch", "main")
    git(place, "add", ".")
    git(place, "commit", "--quiet", "--message", "one")
    return place


def said_by(place: Path, built: Path) -> set[str]:
    """Install a wheel in an environment of its own, and return the versions that everybody there says."""
    venv.EnvBuilder(symlinks=True).create(place)
    python = place / "bin" / "python"
    install = ["--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(built)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, capture_output=True)
    [site] = place.glob("lib/python*/site-packages")
    # Behind its own: the libraries from here.
    (site / "zz.pth").write_text(sysconfig.get_path("purelib"))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    asked = (
        "import asyncblock, importlib.metadata; print(asyncblock.__version__, importlib.metadata.version('asyncblock'))"
    )
    said = ""
    for command in ([str(place / "bin" / "asyncblock"), "--version"], [str(python), "-c", asked]):
        said += subprocess.run(command, cwd=place, env=environment, check=True, capture_output=True, text=True).stdout
    return set(said.split()) - {"asyncblock"}


def test_a_tagged_commit_is_its_release_and_so_is_what_is_made_of_its_source_distribution(
    tree: Path, tmp_path: Path
) -> None:
    git(tree, "tag", "v7.8.9")
    wheel, sdist = build(tree, tmp_path / "dist")
    assert metadata(wheel)["Version"] == "7.8.9"
    assert git(tree, "status", "--porcelain") == ""
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    [source] = (tmp_path / "source").iterdir()
    again, _ = build(source, tmp_path / "again")
    assert again.name == wheel.name
    shutil.rmtree(tree)
    assert said_by(tmp_path / "env", again) == {"7.8.9"}


def test_a_commit_behind_a_tag_is_on_the_way_to_the_next_release(tree: Path, tmp_path: Path) -> None:
    git(tree, "tag", "v7.8.9")
    git(tree, "commit", "--quiet", "--allow-empty", "--message", "two")
    wheel, _ = build(tree, tmp_path / "dist")
    assert re.fullmatch(r"7\.8\.10\.dev1\+g[0-9a-f]+", metadata(wheel)["Version"])


def test_an_editable_installation_says_what_it_was_installed_as_and_leaves_no_files(tree: Path, tmp_path: Path) -> None:
    git(tree, "tag", "v7.8.9")
    # What pip install --editable calls.
    code = f"from hatchling.build import build_editable; print(build_editable({str(tmp_path)!r}))"
    built = subprocess.run([sys.executable, "-c", code], cwd=tree, check=True, capture_output=True, text=True)
    wheel = tmp_path / built.stdout.split()[-1]
    assert said_by(tmp_path / "env", wheel) == {"7.8.9"}
    assert git(tree, "status", "--porcelain") == ""
    git(tree, "commit", "--quiet", "--allow-empty", "--message", "two")
    shutil.rmtree(tree / ".git")
    asked = [str(tmp_path / "env" / "bin" / "asyncblock"), "--version"]
    assert subprocess.run(asked, check=True, capture_output=True, text=True).stdout == "asyncblock 7.8.9\n"


def test_a_clone_without_tags_a_shallow_one_and_bare_files_are_built_all_the_same(tree: Path, tmp_path: Path) -> None:
    git(tree, "tag", "v7.8.9")
    git(tree, "commit", "--quiet", "--allow-empty", "--message", "two")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth", "1", "--no-tags", tree.as_uri(), str(shallow))
    wheel, _ = build(shallow, tmp_path / "of-shallow")
    assert re.fullmatch(r"0\.1\.dev1\+g[0-9a-f]+", metadata(wheel)["Version"])
    shutil.rmtree(tree / ".git")
    wheel, _ = build(tree, tmp_path / "of-files")
    assert metadata(wheel)["Version"] == "0.0"
    assert said_by(tmp_path / "env", wheel) == {"0.0"}


def test_an_archive_of_a_tag_is_that_release(tree: Path, tmp_path: Path) -> None:
    git(tree, "tag", "v7.8.9")
    git(tree, "archive", "--format=tar", f"--output={tmp_path / 'it.tar'}", "v7.8.9")
    with tarfile.open(tmp_path / "it.tar") as archive:
        archive.extractall(tmp_path / "files", filter="data")
    wheel, _ = build(tmp_path / "files", tmp_path / "dist")
    assert metadata(wheel)["Version"] == "7.8.9"


def test_what_runs_here_says_what_is_installed_here() -> None:
    assert asyncblock.__version__ == importlib.metadata.version("asyncblock")


def test_files_without_an_installation_have_a_version_too(tmp_path: Path) -> None:
    # Without any site there are no distributions, and asyncblock itself imports nothing else.
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import asyncblock._version as v; print(v.installed_version())"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "0.0\n"
