from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest

from asyncblock.errors import LocalProtocolError
from asyncblock.executor.code.loader import Loader, load_object

Write = Callable[..., Path]


@pytest.fixture
def loader() -> Iterator[Loader]:
    loader = Loader()
    yield loader
    loader.close()
    assert [name for name in sys.modules if name.startswith("blocks_of.")] == []


@pytest.fixture
def package(tmp_path: Path) -> Write:
    """Writes a package's files: path -> text, with directories in the paths."""

    def write(files: dict[str, str], name: str = "demo") -> Path:
        root = tmp_path / name
        for path, text in files.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return root

    return write


def call(loader: Loader, root: Path, entry: str = "blocks/a/main.py", session_id: str = "s") -> Any:
    return loader.load(root, entry, "main", session_id=session_id)()


IMPORTS = {
    "relative": ("from .utils import f", "f()", {"blocks/a/utils.py": "def f(): return 'ok'"}),
    "relative module": ("from . import utils", "utils.f()", {"blocks/a/utils.py": "def f(): return 'ok'"}),
    "relative, two up": ("from ...shared import f", "f()", {"shared.py": "def f(): return 'ok'"}),
    "relative, other block": ("from ..b.utils import f", "f()", {"blocks/b/utils.py": "def f(): return 'ok'"}),
    "sibling": ("import utils", "utils.f()", {"blocks/a/utils.py": "def f(): return 'ok'"}),
    "sibling with a name": ("import utils as u", "u.f()", {"blocks/a/utils.py": "def f(): return 'ok'"}),
    "names of a sibling": ("from utils import f as g", "g()", {"blocks/a/utils.py": "def f(): return 'ok'"}),
    "star": ("from utils import *", "f()", {"blocks/a/utils.py": "def f(): return 'ok'"}),
    "two at once": ("import json, utils", "json.loads(utils.x)", {"blocks/a/utils.py": "x = '\"ok\"'"}),
    "package beside": ("import lib", "lib.f()", {"blocks/a/lib/__init__.py": "def f(): return 'ok'"}),
    "module of a package": (
        "import lib.m",
        "lib.m.x",
        {"blocks/a/lib/__init__.py": "", "blocks/a/lib/m.py": "x = 'ok'"},
    ),
    "module of a directory": ("import lib.m", "lib.m.x", {"blocks/a/lib/m.py": "x = 'ok'"}),
    "module with a name": ("import lib.m as n", "n.x", {"blocks/a/lib/m.py": "x = 'ok'"}),
    "from a directory": ("from lib import m", "m.x", {"blocks/a/lib/m.py": "x = 'ok'"}),
    "at the root": ("from shared import f", "f()", {"shared.py": "def f(): return 'ok'"}),
    "from the root down": ("from blocks.b.utils import f", "f()", {"blocks/b/utils.py": "def f(): return 'ok'"}),
    "beside wins over root": ("import utils", "utils.x", {"blocks/a/utils.py": "x = 'ok'", "utils.py": "x = 'root'"}),
    "standard library wins": ("import queue", "queue.Queue and 'ok'", {"blocks/a/queue.py": ""}),
    "installed wins over a directory": ("import orjson", "orjson.loads(b'\"ok\"')", {"orjson/readme.txt": ""}),
    "file wins over installed": ("import orjson", "orjson.x", {"orjson.py": "x = 'ok'"}),
    "in a branch": (
        "try:\n    import utils\nexcept ImportError:\n    raise",
        "utils.x",
        {"blocks/a/utils.py": "x = 'ok'"},
    ),
    "in a match": ("match 1:\n    case 1:\n        import utils", "utils.x", {"blocks/a/utils.py": "x = 'ok'"}),
    "optional": ("try:\n    import no_such\nexcept ImportError:\n    x = 'ok'", "x", {}),
    "helper finds its sibling": (
        "from lib.one import x",
        "x",
        {"blocks/a/lib/one.py": "from two import x", "blocks/a/lib/two.py": "x = 'ok'"},
    ),
    "helper finds the block's module": (
        "from lib.one import x",
        "x",
        {"blocks/a/block.oo.yaml": "", "blocks/a/lib/one.py": "from top import x", "blocks/a/top.py": "x = 'ok'"},
    ),
    "docstring and future": ('"""Doc."""\nfrom __future__ import annotations', "__doc__ and 'ok'", {}),
}


@pytest.mark.parametrize(("statement", "expression", "files"), IMPORTS.values(), ids=IMPORTS)
@pytest.mark.parametrize("has_init", [False, True], ids=["directory", "package"])
def test_import(
    loader: Loader, package: Write, statement: str, expression: str, files: dict[str, str], has_init: bool
) -> None:
    path = list(sys.path)
    before = set(sys.modules)
    init = {"blocks/a/__init__.py": "", "blocks/__init__.py": ""} if has_init else {}
    root = package({"blocks/a/main.py": f"{statement}\ndef main(): return {expression}", **init, **files})
    assert call(loader, root) == "ok"
    assert sys.path == path
    leaked = {name for name in set(sys.modules) - before if name.partition(".")[0] != "blocks_of"}
    assert leaked <= {"queue"}


def test_import_inside_a_function_comes_later(loader: Loader, package: Write) -> None:
    root = package({"blocks/a/main.py": "def main():\n    import utils\n    return utils.x"})
    main = loader.load(root, "blocks/a/main.py", "main", session_id="s")
    with pytest.raises(ModuleNotFoundError, match="utils"):
        main()
    package({"blocks/a/utils.py": "x = 'ok'"})
    assert call(loader, root, session_id="t") == "ok"


@pytest.mark.parametrize("directory", ["my-block", "v1.0", "100%", "ünï"])
def test_directories_need_not_be_identifiers(loader: Loader, package: Write, directory: str) -> None:
    files = {f"blocks/{directory}/ma-in.x.py": "import utils\nfrom .utils import x\ndef main(): return x + utils.x"}
    root = package({**files, f"blocks/{directory}/utils.py": "x = 'o'"})
    assert call(loader, root, f"blocks/{directory}/ma-in.x.py") == "oo"


@pytest.mark.parametrize("entry", ["pandas.py", "blocks/pandas/__init__.py", "blocks/a/pandas.py"])
def test_block_named_like_what_it_imports_gets_the_installed_one(loader: Loader, package: Write, entry: str) -> None:
    name = entry.replace("pandas", "orjson")
    root = package({name: "import orjson\ndef main(): return orjson.loads(b'1')"})
    assert call(loader, root, name) == orjson.loads(b"1")


def test_two_packages_with_different_utils(loader: Loader, package: Write) -> None:
    code = "import utils\nfrom .utils import x\nfrom shared import y\ndef main(): return utils.x + x + y"
    roots = [
        package({"blocks/a/main.py": code, "blocks/a/utils.py": f"x = {i}", "shared.py": f"y = {10 * i}"}, f"demo{i}")
        for i in (1, 2)
    ]
    assert [call(loader, root) for root in roots] == [12, 24]


def test_two_blocks_share_a_module(loader: Loader, package: Write) -> None:
    root = package(
        {
            "blocks/both/__init__.py": "class A: pass\ndef a(): return A()\ndef b(value): return isinstance(value, A)",
            "blocks/c/main.py": "from ..both import A\ndef main(value): return isinstance(value, A)",
            "blocks/d/main.py": "from blocks.both import A\ndef main(value): return isinstance(value, A)",
        }
    )
    make = loader.load(root, "blocks/both/__init__.py", "a", session_id="s", dir="blocks/a")
    checks = [
        loader.load(root, "blocks/b/../both/__init__.py", "b", session_id="s", dir="blocks/b"),
        loader.load(root, "blocks/c/main.py", "main", session_id="s"),
        loader.load(root, "blocks/d/main.py", "main", session_id="t"),
    ]
    assert [check(make()) for check in checks] == [True, True, True]


def test_symlink_to_a_file_of_the_package_is_that_file(loader: Loader, package: Write) -> None:
    root = package({"real.py": "def main(): return main"})
    (root / "link.py").symlink_to("real.py")
    assert call(loader, root, "link.py") is call(loader, root, "real.py")


# ---------------------------------------------------------------------- refusals


REFUSED = {
    "above": ("../other/main.py", "leads out of the package 'demo'"),
    "above, in the middle": ("blocks/../../other/main.py", "leads out"),
    "by a symlink": ("out.py", "leads out"),
    "by a symlinked directory": ("outdir/main.py", "leads out"),
    "absolute": ("/etc/passwd.py", "is absolute"),
    "missing": ("blocks/a/mian.py", r"'blocks/a' has 'main.py', 'utils.py'. Did you mean 'main.py'\?"),
    "missing directory": ("bloks/a/main.py", "there is no directory 'bloks/a'"),
    "directory": ("blocks/a", "no Python file"),
    "directory called .py": ("blocks/dir.py", "isn't in the package"),
    "not Python": ("blocks/a/block.oo.yaml", "no Python file; its name must end with .py"),
    "empty": ("", "no Python file"),
    "null": ("a\0.py", "is no path"),
    "long": ("x" * 5000 + ".py", "is no path|isn't in the package"),
    "hidden": ("hidden.py", "has the same module name and hides it"),
}


@pytest.mark.parametrize(("entry", "words"), REFUSED.values(), ids=REFUSED)
def test_entry_is_refused(loader: Loader, package: Write, tmp_path: Path, entry: str, words: str) -> None:
    package({"main.py": "raise AssertionError"}, "other")
    root = package(
        {"blocks/a/main.py": "", "blocks/a/utils.py": "", "blocks/a/block.oo.yaml": "", "blocks/dir.py/x": ""}
    )
    package({"hidden.py": "", "hidden/__init__.py": ""})
    (root / "out.py").symlink_to(tmp_path / "other" / "main.py")
    (root / "outdir").symlink_to(tmp_path / "other")
    with pytest.raises(LocalProtocolError, match=words):
        loader.load(root, entry, "main", session_id="s")


FUNCTIONS = {
    "missing": ("mian", r"'blocks/a/main.py' has no 'mian'; it has 'main', 'Tool'. Did you mean 'main'\?"),
    "imported ones aren't listed": ("nothing", "has no 'nothing'; it has 'main', 'Tool'$"),
    "not callable": ("number", "'number' in 'blocks/a/main.py' is of type int, not a function"),
    "empty": ("", "has no ''"),
}


@pytest.mark.parametrize(("function", "words"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_function_is_refused(loader: Loader, package: Write, function: str, words: str) -> None:
    code = "from os.path import join\nnumber = 1\ndef main(): pass\nclass Tool: pass\ndef _private(): pass"
    root = package({"blocks/a/main.py": code})
    with pytest.raises(LocalProtocolError, match=words) as caught:
        loader.load(root, "blocks/a/main.py", function, session_id="s", dir="blocks/a")
    assert str(caught.value).startswith("block 'blocks/a': ")


def test_many_functions_are_not_all_listed(loader: Loader, package: Write) -> None:
    root = package({"main.py": "\n".join(f"def f{i:02}(): pass" for i in range(30))})
    with pytest.raises(LocalProtocolError, match=r"'f09' and 20 more\. Did you mean 'f\d+'\?"):
        loader.load(root, "main.py", "f1", session_id="s")


# ---------------------------------------------------------------------- failing modules


FAILURES: dict[str, tuple[dict[str, str], type[BaseException], str]] = {
    "raises": ({"main.py": "1 / 0"}, ZeroDivisionError, "division"),
    "missing module": ({"main.py": "import no_such_module"}, ModuleNotFoundError, "no_such_module"),
    "missing name": ({"main.py": "from helper import nope", "helper.py": ""}, ImportError, "nope"),
    "helper raises": ({"main.py": "import helper", "helper.py": "raise ValueError('deep')"}, ValueError, "deep"),
    "package raises": ({"__init__.py": "raise ValueError('root')", "main.py": ""}, ValueError, "root"),
    "helper imported before": ({"main.py": "import helper\n1 / 0", "helper.py": ""}, ZeroDivisionError, "division"),
    "circle": ({"main.py": "import helper\n1 / 0", "helper.py": "import main"}, ZeroDivisionError, "division"),
    "exit": ({"main.py": "import sys\nsys.exit(0)"}, LocalProtocolError, r"called sys.exit\(0\) while it was imported"),
    "stop": ({"main.py": "next(iter([]))"}, RuntimeError, "raised StopIteration"),
    "interrupt": ({"main.py": "raise KeyboardInterrupt"}, KeyboardInterrupt, "^$"),
}


@pytest.mark.parametrize(("files", "kind", "words"), FAILURES.values(), ids=FAILURES)
def test_failed_import_leaves_nothing_and_says_the_same_again(
    loader: Loader, package: Write, files: dict[str, str], kind: type[BaseException], words: str
) -> None:
    root = package(files)
    for _ in range(2):
        with pytest.raises(kind, match=words):
            call(loader, root, "main.py")
        assert [name for name in sys.modules if name.startswith("blocks_of.") and name.count(".") > 1] == []
    package({"__init__.py": "", "main.py": "import helper\ndef main(): return helper.x", "helper.py": "x = 'mended'"})
    assert call(loader, root, "main.py") == "mended"


def test_failure_spares_what_others_had_imported(loader: Loader, package: Write) -> None:
    root = package(
        {
            "shared.py": "class A: pass",
            "good.py": "import shared\ndef main(): return shared.A",
            "bad.py": "import shared\nimport extra\n1 / 0",
            "extra.py": "",
        }
    )
    before = call(loader, root, "good.py")
    with pytest.raises(ZeroDivisionError):
        call(loader, root, "bad.py")
    package({"bad.py": "import shared\ndef main(): return shared.A"})
    assert call(loader, root, "bad.py") is before
    assert not any(name.startswith("blocks_of.") and name.endswith(".extra") for name in sys.modules)


def test_syntax_error_names_file_and_line(loader: Loader, package: Write) -> None:
    root = package({"main.py": "import helper", "helper.py": "x = 1\ndef f(:\n    pass"})
    with pytest.raises(SyntaxError) as caught:
        call(loader, root, "main.py")
    assert (caught.value.filename, caught.value.lineno, caught.value.text) == (
        str(root / "helper.py"),
        2,
        "def f(:\n",
    )


def test_line_numbers_are_the_author_s(loader: Loader, package: Write) -> None:
    root = package(
        {"main.py": '"""Doc."""\nimport json, helper, helper as h\n\ndef main():\n    1 / 0', "helper.py": ""}
    )
    main = loader.load(root, "main.py", "main", session_id="s")
    with pytest.raises(ZeroDivisionError) as caught:
        main()
    assert traceback.extract_tb(caught.tb)[-1].lineno == 5
    assert traceback.extract_tb(caught.tb)[-1].line == "1 / 0"


def test_no_bytecode_is_left_beside_the_author_s_files(loader: Loader, package: Write) -> None:
    root = package({"main.py": "import helper\ndef main(): return 1", "helper.py": ""})
    call(loader, root, "main.py")
    assert sorted(each.name for each in root.iterdir()) == ["helper.py", "main.py"]


# ---------------------------------------------------------------------- sessions


CHANGES = {
    "entry": {"main.py": "import helper\ndef main(): return 'new'"},
    "helper, same size": {"helper.py": "x = 'new'"},
    "a module that now shadows": {"blocks/helper.py": ""},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_new_session_sees_changed_files_and_a_running_one_does_not(
    loader: Loader, package: Write, change: dict[str, str]
) -> None:
    code = "import helper\ndef main(): return helper.x"
    files = {"main.py": code, "blocks/main.py": "import helper\nx = getattr(helper, 'x', 'new')\ndef main(): return x"}
    root = package({**files, "helper.py": "x = 'old'"})
    entry = "blocks/main.py" if "blocks/helper.py" in change else "main.py"
    old = loader.load(root, entry, "main", session_id="old")
    package(change)
    assert call(loader, root, entry, "new") == "new"
    assert loader.load(root, entry, "main", session_id="old") is old
    assert call(loader, root, entry, "old") == "old"


def test_unchanged_package_is_shared_by_sessions(loader: Loader, package: Write) -> None:
    root = package({"main.py": "def main(): return main"})
    first = call(loader, root, "main.py", "s")
    (root / "main.py").touch()
    assert call(loader, root, "main.py", "t") is first


def test_deleted_file_is_missed_by_a_new_session(loader: Loader, package: Write) -> None:
    root = package({"main.py": "import helper\ndef main(): pass", "helper.py": ""})
    call(loader, root, "main.py", "s")
    (root / "helper.py").unlink()
    with pytest.raises(ModuleNotFoundError, match="helper"):
        call(loader, root, "main.py", "t")


def test_old_modules_leave_with_their_last_session(loader: Loader, package: Write) -> None:
    def tops() -> int:
        return len([name for name in sys.modules if name.startswith("blocks_of.") and name.count(".") == 1])

    root = package({"main.py": "def main(): return 1"})
    for session in ("s", "t"):
        call(loader, root, "main.py", session)
    package({"main.py": "def main(): return 2"})
    call(loader, root, "main.py", "u")
    assert tops() == 2
    loader.end_session("s")
    assert tops() == 2
    loader.end_session("t")
    assert tops() == 1
    loader.end_session("u")
    loader.end_session("never seen")
    assert tops() == 1, "the current reading stays for the next session"


def test_loaders_share_nothing(loader: Loader, package: Write) -> None:
    root = package({"main.py": "def main(): return main"})
    other = Loader()
    assert call(other, root, "main.py") is not call(loader, root, "main.py")
    other.close()


# ---------------------------------------------------------------------- threads


def test_threads_that_load_at_once_get_one_module(loader: Loader, package: Write) -> None:
    # A circle: each thread enters it elsewhere.
    files = {f"b{i}.py": f"import shared\nimport b{(i + 1) % 8}\ndef main(): return shared" for i in range(8)}
    root = package({**files, "shared.py": "class A: pass"})
    barrier = threading.Barrier(8)
    found: list[ModuleType] = []

    def work(i: int) -> None:
        barrier.wait()
        found.append(call(loader, root, f"b{i}.py"))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_packages_do_not_wait_for_each_other(loader: Loader, package: Write) -> None:
    """The module of the first package waits until the second package was loaded by another thread."""
    gate, entered = threading.Event(), threading.Event()
    sys.modules["gate_of_the_test"] = module = ModuleType("gate_of_the_test")
    vars(module).update(gate=gate, entered=entered)
    try:
        code = "from gate_of_the_test import gate, entered\nentered.set()\nok = gate.wait(30)\ndef main(): return ok"
        slow, quick = package({"main.py": code}, "slow"), package({"main.py": "def main(): return 1"}, "quick")
        results: list[bool] = []
        thread = threading.Thread(target=lambda: results.append(call(loader, slow, "main.py")))
        thread.start()
        assert entered.wait(30)
        assert call(loader, quick, "main.py") == 1
        gate.set()
        thread.join()
        assert results == [True]
    finally:
        del sys.modules["gate_of_the_test"]


# ---------------------------------------------------------------------- importable code


def test_load_object() -> None:
    assert load_object("json", "dumps") is __import__("json").dumps
    assert load_object("pathlib", "Path.resolve") is Path.resolve


OBJECTS = {
    "no module": ("no_such_module", "f", "no module 'no_such_module' can be imported"),
    "no submodule": ("json.nope", "f", "no module 'json.nope'"),
    "no object": ("json", "dmups", r"module 'json' has no 'dmups'.*Did you mean 'dumps'\?"),
    "nested": ("json", "f.<locals>.g", "made inside a function"),
    "relative": (".json", "f", "no absolute module name"),
    "empty": ("", "f", "no absolute module name"),
}


@pytest.mark.parametrize(("module", "qualname", "words"), OBJECTS.values(), ids=OBJECTS)
def test_load_object_refuses(module: str, qualname: str, words: str) -> None:
    with pytest.raises(LocalProtocolError, match=words):
        load_object(module, qualname)


def test_load_object_lets_a_module_s_own_failure_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_that_lacks_something.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        load_object("module_that_lacks_something", "f")
