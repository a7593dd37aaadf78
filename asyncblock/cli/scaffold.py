"""``asyncblock new``: a package of one's own with a flow, two blocks and a test, which run as they are."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["new"]

_FILES = {
    "package.oo.yaml": "package.oo.yaml",
    "flows/{name}/flow.oo.yaml": "flow.oo.yaml",
    "blocks/read/block.oo.yaml": "read.block.oo.yaml",
    "blocks/read/main.py": "read.main.py",
    "blocks/summarize/block.oo.yaml": "summarize.block.oo.yaml",
    "blocks/summarize/main.py": "summarize.main.py",
    "tests/test_{module}.py": "test.py",
    "pytest.ini": "pytest.ini",
    "sample.csv": "sample.csv",
}
"""Where each template goes."""


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The package's name, and its directory's.")],
    directory: Annotated[
        Path, typer.Option("--in", metavar="DIR", help="Where the directory is made. Default: here.")
    ] = Path(),
) -> None:
    """Make a package with a flow, two blocks and a test, to begin with.

    Nothing that exists is changed. Exit codes: 0 it is made, 2 the name can't be one or is taken.
    """
    if re.fullmatch(r"[a-z][a-z0-9_-]*", name) is None:
        problem = f"{name!r} is no package's name; it has lower-case letters, digits, - and _"
        raise typer.BadParameter(problem, param_hint="NAME")
    root = directory / name
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise typer.BadParameter(f"{root} is there already, and it isn't empty", param_hint="NAME")
    words = {"name": name, "module": name.replace("-", "_")}
    templates = resources.files("asyncblock.cli") / "templates"
    for place, template in _FILES.items():
        text = (templates / f"{template}.txt").read_text("utf-8")
        file = root / place.format(**words)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("NAME", name), "utf-8")
        print(file)
    print(
        f"run it: asyncblock run {root}\ntest it: python -m pytest {root}\nbegin with {root}/blocks/summarize/main.py"
    )
