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
LAYERS: dict[str, set[str]] = {
    "errors": set(),
    "_version": set(),
    "looks": set(),
    "resources": set(),
    # The rooms of the root, each at its height among the rest.
    "runtime": {"errors"},
    "blockcode": {"runtime", "errors"},
    "values": {"runtime", "shapes", "errors"},
    "varvalues": {"runtime", "values", "errors"},
    "childprocesses": {"runtime", "varvalues", "flow", "errors"},
    "wire": {"errors"},
    "transport": {"runtime", "errors"},
    "link": {"runtime", "wire", "transport", "errors"},
    "metadata": {"telemetry", "errors"},
    "telemetry": {"errors"},
    # Asked for by a handle of the client when somebody wants it, and built on what executors keep.
    "retrying": {"context", "executor", "flow", "link", "metadata", "blockcode", "runtime", "store", "values", "wire", "errors"},
    "preview": {"runtime", "values", "errors"},
    "store": {"runtime", "varvalues", "wire", "errors"},
    "shapes": {"errors"},
    "shared": {"runtime", "values", "varvalues", "errors"},
    "block": {"shapes", "resources", "blockcode", "errors"},
    "body": {"runtime", "errors"},
    "context": {
        "runtime", "telemetry", "link", "wire", "preview", "store", "shared", "body", "values", "varvalues", "shapes", "events", "errors",
    },
    "events": {"looks", "wire", "errors"},
    "client": {
        "runtime", "looks", "link", "wire", "transport", "values", "events", "flow", "body", "block", "shapes", "metadata", "retrying", "errors",
    },
    # Names of another package, for blocks that were written for it.
    "oocana_surface": {"context", "block", "blockcode", "shapes", "events", "errors"},
    "executor": {
        "oocana_surface", "context", "client", "link", "wire", "store", "shared", "block", "blockcode", "shapes", "body", "preview", "values",
        "varvalues", "flow", "childprocesses", "runtime", "metadata", "resources", "telemetry", "errors",
    },
    "mqtt": {"errors"},
    # The mainframe that executors see under another engine: as far from ``server`` as that is from ``executor``.
    "bridge": {"mqtt", "wire", "transport", "childprocesses", "blockcode", "errors"},
    "matplotlib_backend": {"executor"},
    "flow": {"shapes", "resources", "blockcode", "errors"},
    "server": {"flow", "wire", "transport", "metadata", "childprocesses", "runtime", "resources", "errors"},
    "page": {"events", "wire", "flow", "errors"},
    "viewer": {"page", "report", "client", "events", "wire", "flow", "runtime", "errors"},
    "report": {"bridge", "mqtt", "runtime", "page", "client", "events", "wire", "flow", "values", "errors"},
}  # fmt: skip
ON_REQUEST = {("client", "retrying")}
"""What is imported where it is called alone, against the order."""

# Within a package with rooms: which of its rooms and of its own files each may import. They have no circle, either.
ROOMS: dict[str, dict[str, set[str]]] = {
    "server": {
        "cluster": {"mainframe", "settings", "supervision", "jetstream", "journal", "peers", "reception"},
        "mainframe": {"serverlimits", "settings", "supervision", "journal", "livesessions", "peers", "reception"},
        "reception": {
            "serverlimits", "greeting", "histograms", "supervision", "watching",
            "committing", "dispatching", "jobstate", "journal", "livesessions", "peers", "rpc",
        },
        "rpc": {"serverlimits", "greeting", "committing", "dispatching", "jobstate", "journal", "livesessions"},
        "livesessions": {
            "serverlimits", "settings", "supervision", "committing", "dispatching", "jobstate", "journal", "peers", "sessionstate",
        },
        "sessionstate": {"supervision", "committing", "dispatching", "jobstate", "journal"},
        "dispatching": {"serverlimits", "settings", "committing", "jobstate", "journal", "peers"},
        "greeting": {"serverlimits", "jobstate", "peers"},
        "jobstate": {"serverlimits", "committing", "peers"},
        "committing": {"histograms", "settings", "supervision", "journal"},
        "peers": {"serverlimits"},
        "jetstream": {"journal"},
        "journal": set(),
        "serverlimits": {"settings"},
        "settings": {"watching"},
        "watching": {"histograms"},
        "histograms": set(),
        "supervision": set(),
    },
    "executor": {
        "__main__": {"executor", "spawner", "guards", "attribution"},
        "executor": {"attachment", "executoroptions", "handover"},
        "handover": {"attachment", "attempts", "code", "offering", "spawner"},
        "attachment": {
            "environment", "executoroptions", "ownprocesses", "services", "sharedslots", "attempts", "attribution", "code", "diagnosis", "keeping",
        },
        "ownprocesses": {"executoroptions"},
        "executoroptions": {"offering", "spawner", "attempts", "code"},
        "attempts": {"environment", "services", "attribution", "caching", "code", "diagnosis", "guards", "keeping", "secrets"},
        "services": {"environment", "service"},
        "sharedslots": {"slotturns"},
        "slotturns": set(),
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
ROOF = {"inprocess", "cli", "examples", "testing", "notebook", "__init__", "__main__"}

# Third-party names and the doors through which they enter.
DOORS = {
    "websockets": {"transport/websocket.py"},
    "sqlite3": {"server/journal"},
    "yaml": {"flow/yamlfile.py", "blockcode/packages.py"},
    "typer": {"cli"},
    "rich": {"cli"},
    "watchfiles": {"cli/edits.py"},
    "jsonschema_rs": {"values/schemas.py"},
    "anyio": {"runtime/offload.py"},
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


def test_the_layers_stand_in_no_circle_and_all_are_there() -> None:
    assert set(LAYERS) | ROOF == {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in modules()}
    below = {layer: {each for each in named if (layer, each) not in ON_REQUEST} for layer, named in LAYERS.items()}
    assert len([*TopologicalSorter(below).static_order()]) == len(LAYERS)


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
