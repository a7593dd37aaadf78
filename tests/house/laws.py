"""What the house should be, counted: each law returns what breaks it, in words that say where."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .source import ROOT, Module

__all__ = ["LAWS", "Law", "circles"]

_MOST_LINES: Final = 300
_MOST_METHODS: Final = 35
_EVERYWHERE: Final = frozenset({"__init__", "__main__"})
_LIBRARY: Final = frozenset({"_asdict", "_exit", "_fields", "_getframe", "_replace", "_run"})
"""Documented names of the standard library, and what of ours bears the same."""

_THEIR_WORDS: Final = {
    "bridge/enginequestions.py": "the other engine tells which inputs are wrong by its message alone",
    "flow/yamlfile.py": "libyaml tells its bound on nesting by its message alone",
    "values/pieces.py": "so does Python that a container was changed while one iterated",
}
_TWINS: Final = {
    "Cancel": "the order to an executor, and the parameters of the request: the wire's reference has them apart",
    "Flow": "asyncblock.Flow is the builder's, which besides can run itself",
    "FlowJobFinished": "an event bears the name of the row of the journal that it tells of, as the next three do",
    "FlowJobOutput": "",
    "FlowJobStarted": "",
    "JobCreated": "",
    "Limits": "what authors write of previews, and a type of the wire's reference",
    "Pruned": "what a client returns, and the answer in the wire's reference",
    "SessionRow": "what a journal keeps, and the answer in the wire's reference",
    "ToFlow": "what authors write, and what the wire's reference says of it; as the next",
    "ToNode": "",
}
"""Names that stand twice on purpose, each known outside by this one, and why."""

_TESTS: Final = Path(__file__).parents[1]

_NO_ROOMS: Final = {
    "benchmarks": "of ``benchmarks/``",
    "docs": "of ``docs/``",
    "engine": "features of the flow language, each on a whole system",
    "fuzz": "made-up messages, flows and values for all that reads such",
    "house": "of these laws",
    "oocana_engine": "executors under the other engine",
    "oocana_flows": "flows on our mainframe and on the other engine",
    "peers": "of the peers that tests make by hand",
    "preview/gallery": "all previews together, as they are drawn",
    "release": "of what is published",
    "security": "what hostile peers, blocks and values can do",
    "server/faults": "an error at each await of the server",
    "simulation": "many made-up runs of the real peers on a simulated clock",
    "typing": "of annotations, by type checkers",
    "var": "var values from one process to the next",
}
"""Directories of tests that mirror no directory of the package, and what they are about."""

_TESTED_BY: Final = {
    "matplotlib_backend.py": "executor/attribution/test_plothooks.py",
    "blockcode/enclosed.py": "executor/code/test_catalog.py",
    "cli/cache.py": "cli/declared/test_oncache.py",
    "cli/housekeeping.py": "cli/test_backup.py",
    "cli/retry.py": "test_retrying.py",
    "executor/code/loading.py": "executor/code/test_loader.py",
    "executor/diagnosis/leftovers.py": "test_errors.py",
    "executor/diagnosis/standing.py": "executor/attempts/test_blockcall.py",
    "executor/guards/startmethods.py": "executor/test_programs_and_pools.py",
    "executor/guards/waits.py": "executor/test_end_of_process.py",
    "flow/graph.py": "cli/test_flows.py",
    "flow/named.py": "cli/test_scaffold.py",
    "flow/needed.py": "test_resources.py",
    "flow/shipped.py": "examples/test_flows.py",
    "inprocess/running.py": "flow/test_builder.py",
    "inprocess/runs.py": "cli/test_resume.py",
    "runtime/scratch.py": "test_body.py",
    "server/journal/copying.py": "cli/test_backup.py",
    "server/journal/peek.py": "cli/test_telling.py",
    "server/livesessions/folding.py": "server/sessionstate/test_snapshots.py",
    "server/peers/announcement.py": "test_resources.py",
    "server/peers/connection.py": "security/test_floods.py",
    "server/peers/lines.py": "security/test_bad_records.py",
    "server/rpc/api.py": "wire/test_methods.py",
    "server/rpc/listing.py": "client/test_mainframes.py",
    "server/rpc/operations.py": "client/test_mainframes.py",
    "server/rpc/roster.py": "client/test_mainframes.py",
    "testing/plugin.py": "testing/test_blockruns.py",
    "transport/memory.py": "testing/test_conformance.py",
    "values/portable/arrow.py": "values/test_portable.py",
    "values/portable/pandasforms.py": "values/test_portable.py",
}
"""Modules that are tested elsewhere, and by what: through commands, through a whole system."""


@dataclass(frozen=True)
class Law:
    """One of them."""

    words: str
    broken: Callable[[list[Module]], list[str]]
    mend: str
    """What to do about it."""


def circles(modules: list[Module]) -> list[list[str]]:
    """Return the circles of imports: modules each of which needs all the others, the largest circle first."""
    known = {module.name for module in modules}
    needs = {module.name: module.imported(known) for module in modules}
    found = [sorted(each) for each in _components(needs) if len(each) > 1]
    return sorted(found, key=lambda each: (-len(each), each))


def _components(needs: dict[str, set[str]]) -> Iterable[set[str]]:
    """Yield the strongly connected parts (Tarjan 1972), without recursion: chains of imports are long."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_ones: list[str] = []
    is_open: set[str] = set()
    for start in needs:
        if start in number:
            continue
        work = [(start, iter(sorted(needs[start])))]
        number[start] = lowest[start] = len(number)
        open_ones.append(start)
        is_open.add(start)
        while work:
            node, rest = work[-1]
            following = next((each for each in rest if each not in number or each in is_open), None)
            if following is None:
                work.pop()
                if work:
                    above = work[-1][0]
                    lowest[above] = min(lowest[above], lowest[node])
                if lowest[node] == number[node]:
                    part: set[str] = set()
                    while node not in part:
                        part.add(open_ones.pop())
                    is_open -= part
                    yield part
            elif following in number:
                lowest[node] = min(lowest[node], number[following])
            else:
                number[following] = lowest[following] = len(number)
                open_ones.append(following)
                is_open.add(following)
                work.append((following, iter(sorted(needs[following]))))


def _circles(modules: list[Module]) -> list[str]:
    # A line for each module, so that to join two circles counts for nothing.
    return [
        f"{name.removeprefix('asyncblock.')}, with {len(circle) - 1} others"
        for circle in circles(modules)
        for name in circle
    ]


def _class_names(modules: list[Module]) -> list[str]:
    places: dict[str, list[str]] = defaultdict(list)
    for module in modules:
        for each in module.classes:
            if not each.name.startswith("_"):
                places[each.name].append(module.place)
    twice = {name: where for name, where in sorted(places.items()) if len(where) > 1}
    found = [f"{name}: {', '.join(where)}" for name, where in twice.items() if name not in _TWINS]
    return [*found, *(f"{name}: a twin that is no more" for name in _TWINS if name not in twice)]


def _file_names(modules: list[Module]) -> list[str]:
    places: dict[str, list[str]] = defaultdict(list)
    for module in modules:
        if module.path.stem not in _EVERYWHERE:
            places[module.path.stem].append(module.place)
    return [f"{name}: {', '.join(where)}" for name, where in sorted(places.items()) if len(where) > 1]


def _long_classes(modules: list[Module]) -> list[str]:
    found = []
    for module in modules:
        for each in module.classes:
            lines = (each.end_lineno or 0) - each.lineno + 1 - sum(map(_docstring_lines, ast.walk(each)))
            methods = sum(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) for node in each.body)
            if lines > _MOST_LINES or methods > _MOST_METHODS:
                found.append(f"{module.place}: {each.name} has {lines} lines and {methods} methods")
    return found


def _docstring_lines(node: ast.AST) -> int:
    body = getattr(node, "body", None)
    lines = 0
    for each in body if isinstance(body, list) else ():
        if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant) and isinstance(each.value.value, str):
            lines += (each.end_lineno or 0) - each.lineno + 1
    return lines


def _private(modules: list[Module]) -> list[str]:
    own = {module.place: _own_names(module) for module in modules}
    ours = set().union(*own.values())
    found = []
    for module in modules:
        attributes = (node for node in ast.walk(module.tree) if isinstance(node, ast.Attribute))
        reached = {
            node.attr
            for node in attributes
            if node.attr in ours and node.attr not in own[module.place] and not _is_self(node.value)
        }
        if reached:
            found.append(f"{module.place}: {', '.join(sorted(reached))}")
    return found


def _own_names(module: Module) -> set[str]:
    """Return the private names that a module gives to its objects, itself included."""
    names: set[str] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and _is_self(node.value):
            names.add(node.attr)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {name for name in names if name.startswith("_") and not name.endswith("__")} - _LIBRARY


def _is_self(node: ast.expr) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id == "super"
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _by_message(modules: list[Module]) -> list[str]:
    found = []
    for module in modules:
        for node in ast.walk(module.tree):
            if (
                module.place not in _THEIR_WORDS
                and isinstance(node, ast.Compare)
                and isinstance(node.ops[0], (ast.In, ast.NotIn))
            ):
                looked_in = node.comparators[0]
                told = isinstance(looked_in, ast.Attribute) and looked_in.attr == "message"
                asked = isinstance(looked_in, ast.Call) and ast.unparse(looked_in).startswith(
                    ("str(error", "str(problem")
                )
                if told or asked:
                    found.append(f"{module.place}:{node.lineno}: {ast.unparse(node)}")
    return found


def _untested(modules: list[Module]) -> list[str]:
    """Return the modules that no test of their room reaches, and the directories of tests that are no room's.

    A module is reached by a test file of its name, by another one in the same directory that imports it, or by what it
    is a part of: a module of its room that is reached and imports it. Rooms without tests of their own are their
    parents'.
    """
    known = {module.name for module in modules}
    rooms: dict[Path, list[Module]] = defaultdict(list)
    for module in modules:
        rooms[_tests_of(module)].append(module)
    found = []
    for directory, members in rooms.items():
        tests = sorted(directory.glob("test_*.py"))
        reached = _reached(members, {path.stem for path in tests}, _imported_by(tests, known), known)
        here = {each.name for each in members if each.place in _TESTED_BY}
        found += [each.place for each in members if each.name not in reached | here]
        found += [f"{each.place}: its room tests it, too" for each in members if each.name in reached & here]
    found += [f"{place}: {test} isn't there" for place, test in _TESTED_BY.items() if not (_TESTS / test).exists()]
    found += [f"{place}: isn't there any more" for place in _TESTED_BY if not (ROOT / place).exists()]
    named = {Path(each) for each in _NO_ROOMS}
    strays = {path.parent.relative_to(_TESTS) for path in _TESTS.rglob("test_*.py")} - named
    return [*found, *(f"tests/{each}/ is no room's" for each in sorted(strays) if not (ROOT / each).is_dir())]


def _tests_of(module: Module) -> Path:
    """Return the directory in which the tests of a module stand."""
    directory = _TESTS / module.path.relative_to(ROOT).parent
    while not any(directory.glob("test_*.py")):
        directory = directory.parent
    return directory


def _reached(members: list[Module], tests: set[str], imported: set[str], known: set[str]) -> set[str]:
    parts = {each.name: each.imported(known) for each in members}
    waiting = [each.name for each in members if each.name in imported or f"test_{each.path.stem}" in tests]
    reached = {each.name for each in members if each.path.stem in _EVERYWHERE}
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting += [each for each in parts[name] if each in parts and each not in reached]
    return reached


def _imported_by(tests: Iterable[Path], known: set[str]) -> set[str]:
    return set().union(*(Module(path).imported(known) for path in tests))


LAWS: Final = (
    Law(
        "imports go in no circle, not even those for types or within functions",
        _circles,
        "let the lower of two files say in a Protocol what it asks for, or move what both need into a third one",
    ),
    Law(
        "a class's name is used once",
        _class_names,
        "give the newer one another name; a twin on purpose stands in _TWINS of tests/house/laws.py, with its reason",
    ),
    Law("a file's name is used once", _file_names, "give the newer one a name that says which it is"),
    Law(
        f"a class has {_MOST_LINES} lines and {_MOST_METHODS} methods at most",
        _long_classes,
        "take a subject out of it, as an object that it has or a base class in a file of its own, with a name of its own",
    ),
    Law(
        "nobody reaches into what is private to another file's object",
        _private,
        "give that object a method or an attribute without an underscore, or let it do the work",
    ),
    Law(
        "no decision is made by the text of a message",
        _by_message,
        "give the error a class or a field to ask; where only others' words tell, _THEIR_WORDS has the file and why",
    ),
    Law(
        "tests stand where what they test does",
        _untested,
        "the tests of asyncblock/DIRECTORY/NAME.py stand in tests/DIRECTORY/test_NAME.py",
    ),
)
