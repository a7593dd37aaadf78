"""What jobs of one process have in common: whoever changes it is told, and nobody else."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import events
from asyncblock.executor.attribution import capture, commons
from asyncblock.executor.attribution.tasks import current_job

from ...flows import all_of, end_of, node, one_block, run_flow, warnings_of, write_flow

LEFT = {
    "env": ("os.environ['OF_THE_TEST'] = '1'", "os.environ (OF_THE_TEST)"),
    "env_gone": ("del os.environ['PATH']", "os.environ (PATH)"),
    "cwd": ("os.chdir('/')", "the working directory"),
    "disable": ("logging.disable(logging.INFO)", "logging.disable()"),
    "level": ("logging.getLogger().setLevel(logging.ERROR)", "the root logger's level"),
    "handlers": ("logging.root.removeHandler(logging.root.handlers[-1])", "the root logger's handlers"),
    "filters": ("warnings.simplefilter('ignore', UserWarning)", "the filters of warnings (ignore UserWarning)"),
    "filters_all": ("warnings.filterwarnings('ignore')", "the filters of warnings (ignore Warning)"),
    "seed": ("np.random.seed(1)", "the seed of np.random"),
    "random": ("random.seed(1)", "the seed of random"),
    "rc": ("matplotlib.rcParams['savefig.dpi'] = 30", "matplotlib's rcParams (savefig.dpi)"),
    "style": ("plt.style.use('ggplot')", "matplotlib's rcParams ("),
    "config": ("logging.getLogger('early'); logging.config.dictConfig({'version': 1})", "loggers of others"),
    "umask": ("os.umask(0o002 if os.umask(0o002) == 0o077 else 0o077)", "the umask"),
    "timeout": ("socket.setdefaulttimeout(77)", "the time limit of new sockets"),
    "collector": ("gc.disable()", "whether garbage is collected"),
    "recursion": ("sys.setrecursionlimit(2000 + sys.getrecursionlimit())", "the recursion limit"),
    "limit": (
        "resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))"
        " if resource.getrlimit(resource.RLIMIT_CORE)[0] else resource.setrlimit(resource.RLIMIT_CORE, (1, 1))",
        "the limits of the process (RLIMIT_CORE)",
    ),
    "options": ("pd.set_option('display.max_rows', 7)", "pandas' options (display.max_rows)"),
    "option": ("pd.options.display.precision = 3", "pandas' options (display.precision)"),
    "locale": ("locale.setlocale(locale.LC_ALL, 'C.UTF-8')", "the locale"),
}

TAKEN_BACK = """
    before = os.environ.get("HOME", "")
    os.environ["HOME"] = "/nowhere"
    os.environ["HOME"] = before
    with contextlib.chdir("/"):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("error")
    with plt.rc_context({"font.size": 3}):
        pass
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    logging.disable(disabled)
    handler = logging.StreamHandler()
    logging.root.addHandler(handler)
    logging.root.removeHandler(handler)
    logging.getLogger("mine").setLevel(logging.DEBUG)
    np.random.default_rng(1).random()
    os.umask(os.umask(0o022))
    with pd.option_context("display.max_rows", 3):
        pass
    timeit.timeit("1", number=1)
"""

IMPORTS = """
import asyncio, contextlib, gc, locale, logging, logging.config, os, random, resource, socket, sys, timeit, warnings
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import gate
"""


def guilty(kind: str, line: str) -> str:
    return f"{IMPORTS}\n{kind} main(inputs, ctx):\n    {line}\n    return {{'out': 1}}\n"


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_what_a_block_changes_for_all_jobs_is_told_of_it_and_not_of_those_beside_it(
    kind: str, tmp_path: Path
) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "gate.py").write_text("import asyncio\nopened = asyncio.Event()\n")
    nodes = [node(name, guilty(kind, line), tmp_path / "f") for name, (line, _) in LEFT.items()]
    # After them: what takes a change back takes back what others have changed meanwhile.
    innocent = f"{IMPORTS}\n{kind} main(inputs, ctx):{TAKEN_BACK}    return {{'out': 1}}\n"
    after = [{"handle": name, "from_node": [{"node_id": name, "output_handle": "out"}]} for name in LEFT]
    nodes.append(
        node("innocent", innocent, tmp_path / "f", inputs=[{"handle": name} for name in LEFT], inputs_from=after)
    )
    waits = f"{IMPORTS}\nasync def main(inputs, ctx):\n    await gate.opened.wait()\n    return {{'out': 1}}\n"
    nodes.append(node("beside", waits, tmp_path / "f"))
    opens = f"{IMPORTS}\nasync def main(inputs, ctx):\n    gate.opened.set()\n"
    last = node("last", opens, tmp_path / "f", inputs=[{"handle": "in"}])
    last["inputs_from"] = [{"handle": "in", "from_node": [{"node_id": "innocent", "output_handle": "out"}]}]
    found = await run_flow(write_flow(tmp_path / "f", [*nodes, last]), workers=1)
    assert end_of(found).state == "succeeded", end_of(found)
    told = {
        event.node_id: event.warning for event in all_of(found, events.BlockWarning) if "spawn: true" in event.warning
    }
    for name, (_, words) in LEFT.items():
        assert words in told[name], (name, told)
    assert told.keys() == LEFT.keys(), told


async def test_who_clears_the_root_logger_s_handlers_is_told(tmp_path: Path) -> None:
    source = "import logging\nasync def main(inputs, ctx):\n    logging.getLogger().handlers.clear()\n"
    found = await run_flow(one_block(tmp_path / "f", source), workers=1)
    [told] = warnings_of(found)
    assert "the root logger's handlers, by which jobs have their logs" in told
    assert "spawn: true" in told


async def test_a_process_of_its_own_may_be_changed(tmp_path: Path) -> None:
    source = "import os\nasync def main(inputs, ctx):\n    os.environ['A'] = '1'\n    os.chdir('/')\n"
    made = node("n", source, tmp_path / "f")
    made["task"]["executor"]["options"]["spawn"] = True
    found = await run_flow(write_flow(tmp_path / "f", [made]), workers=1)
    assert end_of(found).state == "succeeded"
    assert warnings_of(found) == []


async def test_what_an_import_changes_is_not_the_block_s(tmp_path: Path) -> None:
    library = tmp_path / "lib" / "of_the_test_library"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("import os, warnings\nos.environ['LIB'] = '1'\nwarnings.simplefilter('always', ImportWarning)\n")  # fmt: skip
    source = f"""
        import sys

        sys.path.append({str(tmp_path / "lib")!r})

        async def main(inputs, ctx):
            import of_the_test_library
            return {{"out": __import__("os").environ["LIB"]}}
        """
    found = await run_flow(one_block(tmp_path / "f", source), workers=1)
    assert end_of(found).outputs == {"out": "1"}
    assert warnings_of(found) == []


async def test_one_who_finishes_by_itself_is_named_in_the_executor_s_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = "import random\nasync def main(inputs, ctx):\n    random.seed(1)\n    await ctx.done()\n"
    found = await run_flow(one_block(tmp_path / "f", source), capture=True)
    assert end_of(found).state == "succeeded"
    assert any("node n" in record.message and "the seed of random" in record.message for record in caplog.records)


async def test_nothing_is_replaced_in_a_process_of_the_user_s(tmp_path: Path) -> None:
    import locale
    import logging
    import os
    import random
    import threading
    import warnings

    import matplotlib
    import matplotlib.pyplot as plt
    import numpy as np

    def all_there() -> list[Any]:
        return [
            *(os.chdir, os.putenv, os.unsetenv, locale.setlocale, logging.disable, logging.Logger.setLevel),
            *(logging.Logger.addHandler, warnings.simplefilter, random.seed, np.random.seed, threading.Thread.start),
            *(matplotlib.RcParams.__setitem__, matplotlib.get_backend(), plt.gcf, plt.show, plt.figure, plt.close),
            *(sys.stdout, sys.stderr, [*sys.meta_path], [*logging.root.handlers], logging.root.level, dict(os.environ)),
        ]

    before = all_there()
    seen: list[list[Any]] = []

    @asyncblock.block
    async def look(inputs: dict[str, Any], ctx: asyncblock.Context) -> None:
        seen.append(all_there())

    flow = asyncblock.Flow("looking")
    flow.node(look)
    async with asyncblock.embedded(blocks=[look]) as mainframe:
        await (await mainframe.start(flow)).outputs()
    assert seen == [before]
    capture.install()
    assert os.chdir is not before[0]
    capture.uninstall()
    assert all_there() == before


def test_a_job_that_changes_nothing_pays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only price is one look at its end; a change costs microseconds, and only in a job."""

    class Job:
        def __init__(self) -> None:
            self.noted = commons.Changes()

        def changes(self) -> commons.Changes:
            return self.noted

    import os

    look, looks = commons._is_import, 0

    def counted() -> bool:
        nonlocal looks
        looks += 1
        return look()

    monkeypatch.setattr(commons, "_is_import", counted)
    capture.install()
    try:
        job = Job()
        context = contextvars.copy_context()
        context.run(current_job.set, job)  # type: ignore[arg-type]

        def change() -> float:
            # Of a processor: on a busy machine others have turns meanwhile.
            began = time.thread_time()
            for _ in range(1000):
                os.environ["OF_THE_TEST_2"] = "1"
            return (time.thread_time() - began) / 1000

        seconds = min(context.run(change) for _ in range(5))
        assert (words := job.noted.words()) is not None and "OF_THE_TEST_2" in words
        assert seconds < 50e-6
        # Who has made a change, which takes a walk through the frames, is looked at once for each thing that changes.
        assert looks == 1
    finally:
        os.environ.pop("OF_THE_TEST_2", None)
        capture.uninstall()


class Routed:
    """A stream that knows whose text it gets by a variable of the context, as a notebook's does by its cell."""

    cell: contextvars.ContextVar[str] = contextvars.ContextVar("cell", default="another")

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def write(self, text: str) -> int:
        self.found[self.cell.get()] = self.found.get(self.cell.get(), "") + text
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_prints_go_to_the_cell_that_started_the_session(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Routed()
    source = f"import asyncio\n{kind} main(inputs, ctx):\n    print(inputs['name'])\n"
    made = node("n", source, tmp_path / "f", inputs=[{"handle": "name"}])
    made["inputs_from"] = [{"handle": "name", "from_flow": [{"input_handle": "name"}]}]
    path = write_flow(tmp_path / "f", [made], inputs_def=[{"handle": "name"}])

    async def cell(name: str, mainframe: asyncblock.Mainframe) -> None:
        Routed.cell.set(name)
        await (await mainframe.start(path, {"name": name})).wait()

    async with asyncblock.embedded() as mainframe:
        monkeypatch.setattr(sys, "stdout", stream)
        await asyncio.gather(*(cell(name, mainframe) for name in ("one", "two", "three")))
    monkeypatch.undo()
    assert stream.found == {name: f"{name}\n" for name in ("one", "two", "three")}
