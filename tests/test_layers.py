"""The house as data: which module may import which. Imports go downwards only."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import asyncblock

ROOT = Path(asyncblock.__file__).parent

# Module or package: what of ours it may import. The roof may import anything.
GROUND = {
    "errors",
    "forks",
    "enclosed",
    "packages",
    "identity",
    "importable",
    "patterns",
    "crashpoints",
    "syntax",
    "datapaths",
}
LAYERS: dict[str, set[str]] = {
    "errors": set(),
    "_version": set(),
    "enclosed": set(),
    "packages": {"errors", "identity", "patterns"},
    "importable": {"packages", "identity", "syntax", "datapaths"},
    "datapaths": set(),
    "patterns": set(),
    "identity": {"syntax"},
    "crashpoints": set(),
    "stagingdirs": {"forks"},
    "forks": set(),
    "children": {"forks"},
    "syntax": {"forks"},
    "collector": {"forks"},
    "ending": set(),
    "wire": {"errors"},
    "transport": {"forks", "errors"},
    "iothread": {"offload", "errors"},
    "link": {"forks", "iothread", "scratch", "wire", "transport", "crashpoints", "errors"},
    "brought": set(),
    "forms": {"brought", "shapes"},
    "values": {"forms", "brought", "errors"},
    "pieces": {"forms", "brought", "collector", "values", "errors"},
    "offload": {"forks", "errors"},
    "metadata": {"telemetry", "errors"},
    "telemetry": {"errors"},
    "jsonlogs": set(),
    "many": {"flow", "shapes", "errors"},
    "grouped": {"client", "many"},
    # Asked for by a handle of the client when somebody wants it, and built on what executors keep.
    "retrying": {"context", "executor", "flow", "link", "metadata", "importable", "identity", "offload", "pieces", "store", "wire", "errors"},
    "schemas": {"values", "errors"},
    "preview": {"forms", "brought", "forks", "values", "pieces", "offload", "errors"},
    "detached": set(),
    "hostmemory": set(),
    "resources": set(),
    "store": {"detached", "forks", "wire", "errors"},
    "shapes": {"errors"},
    "depot": {"scratch", "forks", "values", "errors"},
    "shared": {"depot", "forks", "values", "errors"},
    "block": {"shapes", "resources", "identity", "enclosed", "errors"},
    "body": {"offload", "errors"},
    "scratch": {"errors"},
    "context": {
        "telemetry", "forks", "link", "iothread", "wire", "preview", "detached", "store", "depot", "shared", "body", "values", "forms", "pieces", "offload", "schemas", "shapes", "events", "errors",
    },
    "looks": set(),
    "events": {"looks", "wire", "errors"},
    "client": {"looks", "link", "iothread", "wire", "transport", "values", "pieces", "offload", "schemas", "events", "flow", "body", "block", "many", "shapes", "metadata", "retrying", "errors"},
    # Names of another package, for blocks that were written for it.
    "oocana_surface": {"context", "block", "shapes", "syntax", "events", "errors"},
    "executor": {
        "oocana_surface", "context", "client", "link", "iothread", "wire", "detached", "store", "depot", "shared", "block", "shapes", "body", "scratch", "preview", "values", "pieces",
        "offload", "flow", "workers", "brought", "children", "lifesigns", "collector", "ending", "hostmemory", "metadata", "resources", "telemetry", "jsonlogs",
        *GROUND,
    },
    "mqtt": {"errors"},
    # The mainframe that executors see under another engine: as far from ``server`` as that is from ``executor``.
    "bridge": {"mqtt", "wire", "transport", "workers", "packages", "errors"},
    "matplotlib_backend": {"executor"},
    "flow": {"shapes", "resources", *GROUND},
    "server": {"stagingdirs", "flow", "wire", "transport", "metadata", "children", "collector", "resources", *GROUND},
    "hosting": {"server", "iothread"},
    "workers": {"children", "depot", "forks", "flow", "hostmemory", "lifesigns", "errors"},
    "lifesigns": set(),
    "page": {"events", "wire", "flow", "errors"},
    "viewer": {"page", "report", "client", "grouped", "many", "events", "wire", "flow", "offload", "errors"},
    "report": {"bridge", "mqtt", "stagingdirs", "page", "client", "events", "wire", "flow", "offload", "pieces", "errors"},
}  # fmt: skip
# Within a package with rooms: which of its rooms and of its own files each may import. They have no circle, either.
ROOMS: dict[str, dict[str, set[str]]] = {
    "executor": {
        "__main__": {"executor", "spawner", "guards", "attribution"},
        "executor": {"attachment", "executoroptions", "handover"},
        "handover": {"attachment", "attempts", "code", "offering", "spawner"},
        "attachment": {
            "environment", "executoroptions", "ownprocesses", "services", "attempts", "attribution", "code", "diagnosis", "keeping",
        },
        "ownprocesses": {"executoroptions"},
        "executoroptions": {"offering", "spawner", "attempts", "code"},
        "attempts": {"environment", "services", "attribution", "caching", "code", "diagnosis", "guards", "keeping", "secrets"},
        "services": {"environment", "service"},
        "service": {"attribution", "diagnosis"},
        "keeping": {"environment"},
        "caching": {"environment", "code"},
        "environment": {"code"},
        "spawner": {"code"},
        "guards": {"attribution", "diagnosis"},
        "code": {"shell", "attribution"},
        "attribution": set(),
        "diagnosis": set(),
        "secrets": set(),
        "offering": set(),
        # Plans name it, and journals keep plans: it stays where it is.
        "shell": set(),
    },
}  # fmt: skip
ROOF = {"embedding", "running", "runs", "cli", "examples", "testing", "notebook", "__init__", "__main__"}

# Third-party names and the doors through which they enter.
DOORS = {
    "websockets": {"transport/websocket.py"},
    "sqlite3": {"server/journal"},
    "yaml": {"flow/yamlfile.py", "packages.py"},
    "typer": {"cli"},
    "rich": {"cli"},
    "watchfiles": {"cli/edits.py"},
    "jsonschema_rs": {"schemas.py"},
    "anyio": {"offload.py"},
    "fastapi": {"examples/service"},
    "starlette": {"viewer"},
    "uvicorn": {"viewer/serving.py"},
    "markdown_it": {"report/markdown.py"},
    "paho": {"mqtt.py"},
    "oocana": {"oocana_surface"},
    "simplejson": {"oocana_surface"},
    "nats": {"server/jetstream/natsstore.py"},
    "opentelemetry": {"telemetry/spans.py", "telemetry/exporting.py", "telemetry/blocklogs.py"},
}
# Imported by nobody here: authors' values bring them in.
AUTHORS_OWN = {
    "pandas",
    "matplotlib",
    "numpy",
    "polars",
    "pyarrow",
    "plotly",
    "altair",
    "PIL",
    "pydantic",
    "msgspec",
    "attr",
    "attrs",
}


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if "examples" not in path.relative_to(ROOT).parts[1:-1])


def imports_of(path: Path) -> list[str]:
    """Return the dotted names that a module imports, with ours made absolute: for types and within functions, too."""
    package = [asyncblock.__name__, *path.relative_to(ROOT).parts[:-1]]
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            if node.level and not node.module:
                found += [f"{name}.{alias.name}" for alias in node.names]
            else:
                found.append(name)
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downwards_only(path: Path) -> None:
    layer = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if layer in ROOF:
        return
    allowed = LAYERS[layer] | {layer}
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "asyncblock" and len(parts) > 1:
            assert parts[1] in allowed or parts[1] == "_version", f"{layer} imports {name}"


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_of_a_package_import_each_other_in_their_order(package: str) -> None:
    order, here = ROOMS[package], ROOT / package
    there = {path.stem for path in here.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert set(order) == there - {"__init__"}
    for path in sorted(here.rglob("*.py")):
        room = path.relative_to(here).parts[0].removesuffix(".py")
        for name in imports_of(path):
            parts = name.split(".")
            if parts[:2] == ["asyncblock", package] and len(parts) > 2 and room != "__init__":
                assert parts[2] in order[room] | {room}, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_of_a_package_stand_in_no_circle_and_on_the_page_about_the_house(package: str) -> None:
    assert len([*TopologicalSorter(ROOMS[package]).static_order()]) == len(ROOMS[package])
    page = (ROOT.parent / "docs" / "architecture.md").read_text("utf-8")
    rooms = [path.name for path in sorted((ROOT / package).iterdir()) if (path / "__init__.py").exists()]
    assert [room for room in rooms if f"| `{package}/{room}/` |" not in page] == []


def test_executor_and_server_do_not_know_each_other() -> None:
    assert "server" not in LAYERS["executor"]
    assert "executor" not in LAYERS["server"]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_each_third_party_name_enters_by_its_door(path: Path) -> None:
    relative = path.relative_to(ROOT).as_posix()
    for name in imports_of(path):
        top = name.split(".")[0]
        assert top not in AUTHORS_OWN or relative.startswith("examples/"), f"{relative} imports {name}"
        doors = DOORS.get(top)
        assert doors is None or any(relative.startswith(door) for door in doors), f"{relative} imports {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "wire").glob("*.py")), ids=lambda p: p.name)
def test_the_protocol_does_no_io_and_has_no_clock(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.AsyncFunctionDef, ast.Await))]
    forbidden = {"asyncio", "threading", "time", "socket", "random", "os", "anyio"}
    assert not {name.split(".")[0] for name in imports_of(path)} & forbidden


def test_importing_asyncblock_loads_nothing_heavy() -> None:
    code = "import sys, asyncblock; print(' '.join(sorted(sys.modules)))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    heavy = {
        "pandas",
        "numpy",
        "matplotlib",
        "typer",
        "rich",
        "websockets",
        "sqlite3",
        "yaml",
        "anyio",
        "opentelemetry",
        "nats",
    }
    assert not loaded & heavy
    assert not {name for name in loaded if name.startswith(("asyncblock.server", "asyncblock.flow", "asyncblock.cli"))}


def test_the_front_door_has_few_names_and_all_of_them_open() -> None:
    assert len(asyncblock.__all__) <= 25
    for name in asyncblock.__all__:
        assert getattr(asyncblock, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = asyncblock.nothing
