"""Names that other processes know: functions and classes of block files in pools, in pickles, after an edit."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import asyncblock
from asyncblock.executor.code.imports import name_of, root_of

from ...flows import end_of, node, one_block, run_block, run_flow, write_flow

# Since 3.12: the test's own process forks in some of these, and has threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

KINDS = """
import dataclasses, enum, functools, multiprocessing as mp, os, pickle, typing
from concurrent.futures import ProcessPoolExecutor

import helper

class Colour(enum.Enum):
    RED = 1

class Point(typing.NamedTuple):
    x: int

@dataclasses.dataclass
class Box:
    point: Point
    colour: Colour
    kind: type = int

class Wrong(Exception):
    pass

def opened(box, more=0):
    assert type(box) is Box and box.colour is Colour.RED and box.kind is helper.Kind
    return helper.Kind(box.point.x + more)

def fails(_):
    raise Wrong("in the worker")

BOXES = [Box(Point(x), Colour.RED, helper.Kind) for x in range(4)]

def checked(made):
    made = list(made)
    assert all(type(each) is helper.Kind for each in made)
    return [each.value for each in made]
"""

HELPER = """
class Kind:
    def __init__(self, value):
        self.value = value
"""


@pytest.mark.parametrize(("kind", "options"), [("def", {"workers": 1}), ("async def", {"workers": 1}), ("def", {})])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
async def test_classes_and_functions_of_block_files_go_to_pools_and_back(
    method: str, kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    source = f"""{KINDS}
{kind} main(inputs, ctx):
    context = mp.get_context({method!r})
    out = []
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        out.append(checked(pool.map(functools.partial(opened, more=1), BOXES)))
        error = pool.submit(fails, 0).exception()
        out.append([type(error) is Wrong, str(error)])
    with context.Pool(2) as pool:
        out.append(checked(pool.map(opened, BOXES)))
    return {{"out": out}}
"""
    (tmp_path / "helper.py").write_text(HELPER)
    found = await run_block(tmp_path, source, **options)
    assert end_of(found).outputs == {"out": [[1, 2, 3, 4], [True, "in the worker"], [0, 1, 2, 3]]}


async def test_classes_and_functions_of_block_files_go_to_joblib_s_workers_and_back(tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    source = f"""{KINDS}
from joblib import Parallel, delayed

def main(inputs, ctx):
    return {{"out": checked(Parallel(n_jobs=2)(delayed(opened)(box, more=5) for box in BOXES))}}
"""
    (tmp_path / "helper.py").write_text(HELPER)
    nodes = [node("a", source, tmp_path), node("b", source, tmp_path)]
    nodes[1]["task"]["executor"]["options"]["spawn"] = True
    outputs = [{"handle": n, "from_node": [{"node_id": n, "output_handle": "out"}]} for n in "ab"]
    found = await run_flow(write_flow(tmp_path, nodes, outputs_from=outputs), workers=1)
    assert end_of(found).outputs == {"a": [5, 6, 7, 8], "b": [5, 6, 7, 8]}


async def test_managers_queues_shared_memory_and_workers_for_one_task_work_in_two_jobs_at_once(tmp_path: Path) -> None:
    source = """
        import multiprocessing as mp
        import os
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import shared_memory

        def put(queue, shared, name, n):
            memory = shared_memory.SharedMemory(name=name)
            memory.buf[n] = n
            memory.close()
            shared[n] = os.getpid()
            queue.put(n)

        def pid(_):
            return os.getpid()

        def main(inputs, ctx):
            memory = shared_memory.SharedMemory(create=True, size=8)
            try:
                with mp.Manager() as manager:
                    queue, shared = mp.Queue(), manager.dict()
                    jobs = [mp.Process(target=put, args=(queue, shared, memory.name, n)) for n in range(4)]
                    for job in jobs:
                        job.start()
                    seen = sorted(queue.get(timeout=30) for _ in jobs)
                    for job in jobs:
                        job.join()
                    pids = len(set(shared.values()))
                out = [seen, pids, list(memory.buf[:4])]
            finally:
                memory.close()
                memory.unlink()
            with ProcessPoolExecutor(1, mp_context=mp.get_context("spawn"), max_tasks_per_child=1) as pool:
                return {"out": [*out, len(set(pool.map(pid, range(2))))]}
        """
    nodes = [node(name, source, tmp_path) for name in "ab"]
    outputs = [{"handle": n, "from_node": [{"node_id": n, "output_handle": "out"}]} for n in "ab"]
    found = await run_flow(write_flow(tmp_path, nodes, outputs_from=outputs), workers=1)
    expected = [[0, 1, 2, 3], 4, [0, 1, 2, 3], 2]
    assert end_of(found).outputs == {"a": expected, "b": expected}


PICKLED = """
import pickle
from pathlib import Path

class Thing:
    def __init__(self, n):
        self.n = n

    def said(self):
        return f"{NAME} {self.n}"

def main(inputs, ctx):
    file = Path(__file__).with_name("thing.pickle")
    if not file.exists():
        file.write_bytes(pickle.dumps([Thing(7), Thing.said]))
    thing, said = pickle.loads(file.read_bytes())
    assert type(thing) is Thing and said is Thing.said
    return {"out": thing.said()}
"""


@pytest.mark.parametrize("options", [{"workers": 1}, {}])
async def test_what_one_run_has_pickled_the_next_one_reads_and_so_does_the_same_one_after_an_edit(
    options: dict[str, Any], tmp_path: Path
) -> None:
    for names in (("first", "second"), ("third", "third")):
        async with asyncblock.embedded(**options) as mainframe:
            for name in names:
                path = one_block(tmp_path / "my-flow.2", f"NAME = {name!r}\n{PICKLED}")
                assert await (await mainframe.start(path)).outputs() == {"out": f"{name} 7"}


async def test_any_program_of_the_environment_reads_what_blocks_have_pickled(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", f"NAME = 'mine'\n{PICKLED}")
    async with asyncblock.embedded() as mainframe:
        await (await mainframe.start(path)).outputs()
    code = f"import pickle\nprint(pickle.load(open({str(tmp_path / 'f' / 'thing.pickle')!r}, 'rb'))[0].said())\n"
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    out, _ = await program.communicate()
    assert out == b"mine 7\n"


async def test_a_pickle_of_a_package_that_is_gone_says_so(tmp_path: Path) -> None:
    name = f"blocks_of.{name_of(tmp_path / 'gone')}.main"
    with pytest.raises(ModuleNotFoundError, match=r"blocks_of\._"):
        pickle.loads(f"c{name}\nThing\n.".encode())


async def test_a_module_s_name_is_fit_for_directories_and_loggers(tmp_path: Path) -> None:
    """Tools make directories of module names (joblib's ``Memory``), and loggers of their parts."""
    found = await run_block(tmp_path / "a b.c", "def main(inputs, ctx):\n    return {'out': __name__}\n")
    parts = str(end_of(found).outputs["out"]).split(".")
    assert all(part.isidentifier() for part in parts), parts
    assert parts[0] == "blocks_of"
    assert root_of(parts[1]) == (tmp_path / "a b.c").resolve()


@given(st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=4))
def test_a_package_s_name_says_its_path_and_no_other(parts: list[bytes]) -> None:
    names = [part.replace(b"/", b"-").replace(b"\0", b"_") for part in parts]
    path = Path(os.fsdecode(b"/" + b"/".join(names)))
    name = name_of(path)
    assert name.isidentifier()
    assert name.isascii()
    assert root_of(name) == path
    assert root_of(f"e2{name}") == path


@pytest.mark.parametrize("name", ["", "a", "_0zz", "home", "_é", "__031", "_home__", "e_a"])
def test_what_is_no_package_s_name_is_found_nowhere(name: str) -> None:
    root = root_of(name)
    assert root is None or name_of(root) == name


FIRST_TWO = """
import importlib.machinery, sys, threading
from pathlib import Path

from asyncblock.executor.code.imports import Edition

begun, go_on = threading.Event(), threading.Event()

class Held(importlib.machinery.SourceFileLoader):
    def exec_module(self, module):
        begun.set()
        go_on.wait()
        super().exec_module(module)

class Finder:
    def find_spec(self, name, path, target=None):
        if name != "blocks_of":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name)
        spec.loader = Held(name, spec.origin)
        return spec

sys.meta_path.insert(0, Finder())
found = {}

def load(name):
    try:
        found[name] = Edition.of(Path(sys.argv[1], name)).import_file(Path(sys.argv[1], name, "main.py")).NAME
    except ImportError as error:
        found[name] = error

first, second = (threading.Thread(target=load, args=(name,), daemon=True) for name in ("one", "two"))
first.start()
begun.wait()
second.start()
second.join(0.3)
assert not found, found
go_on.set()
first.join(), second.join()
assert found == {"one": "one", "two": "two"}, found
"""


def test_the_first_two_packages_of_a_process_may_be_imported_at_the_same_time(tmp_path: Path) -> None:
    """The second waits for what sets the names up; the import system by itself wouldn't."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "main.py").write_text(f"NAME = {name!r}\n")
    subprocess.run([sys.executable, "-c", FIRST_TWO, tmp_path], check=True, timeout=60)
