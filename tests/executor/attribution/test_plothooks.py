"""``plt.show()`` and ``fig.show()`` in a block."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import asyncblock
from asyncblock import events

from ...flows import all_of, end_of, node, one_block, run_block, run_flow, warnings_of, write_flow
from ...preview.showing import picture
from ...processes import run


async def previews(directory: Path, source: str, **options: Any) -> list[Any]:
    found = await run_block(directory, textwrap.dedent(source), capture=True, **options)
    assert end_of(found).state == "succeeded", end_of(found)
    assert warnings_of(found) == []
    # Nothing of a job comes after its finish.
    kinds = [type(event) for event in found]
    finish = kinds.index(events.BlockFinished)
    assert events.BlockPreview not in kinds[finish:]
    return [event.payload for event in all_of(found, events.BlockPreview)]


def colour(url: str) -> tuple[int, ...]:
    return tuple(int(value) for value in np.asarray(picture(url))[0, 0, :3])


RED, BLUE, LIME = (255, 0, 0), (0, 0, 255), (0, 255, 0)


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_plt_show_previews_the_jobs_figures_as_they_are_at_that_moment(kind: str, tmp_path: Path) -> None:
    one, both = await previews(
        tmp_path,
        f"""
        import matplotlib.pyplot as plt
        {kind} main(inputs, ctx):
            figure = plt.figure(figsize=(1, 1), facecolor="red")
            plt.show()
            figure.set_facecolor("blue")
            plt.figure(figsize=(1, 1), facecolor="lime")
            plt.show()
            figure.set_facecolor("red")
            plt.close("all")
        """,
    )
    assert one["type"] == "image" and colour(one["data"]) == RED
    assert [colour(url) for url in both["data"]] == [BLUE, LIME]


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_threads_of_the_block_show_for_its_job(kind: str, tmp_path: Path) -> None:
    [made] = await previews(
        tmp_path,
        f"""
        import threading
        {kind} main(inputs, ctx):
            def draw():
                from matplotlib.pyplot import figure, show
                figure(figsize=(1, 1), facecolor="red")
                show(block=True)
            thread = threading.Thread(target=draw)
            thread.start()
            thread.join()
        """,
    )
    assert colour(made["data"]) == RED


async def test_a_figure_shows_itself_and_keeps_its_order_with_previews(tmp_path: Path) -> None:
    made = await previews(
        tmp_path,
        """
        from matplotlib.figure import Figure
        async def main(inputs, ctx):
            Figure(figsize=(1, 1), facecolor="red").show()
            await ctx.preview("second")
            Figure(figsize=(1, 1), facecolor="blue").show()
            await ctx.done()
        """,
    )
    assert [each["type"] for each in made] == ["image", "text", "image"]
    assert [colour(made[0]["data"]), colour(made[2]["data"])] == [RED, BLUE]


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_plotlys_show_previews_the_figure(kind: str, tmp_path: Path) -> None:
    made = await previews(
        tmp_path,
        f"""
        import plotly.graph_objects as go, plotly.io as pio
        {kind} main(inputs, ctx):
            figure = go.Figure(go.Scatter(y=[1, 2]))
            figure.show()
            pio.show(figure)
        """,
    )
    assert [each["type"] for each in made] == ["html", "html"]


async def test_a_job_shows_no_figures_of_others_and_leaves_none(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    of_the_process = plt.figure(figsize=(1, 1), facecolor="lime")
    try:
        for _ in range(2):
            [made] = await previews(
                tmp_path,
                """
                import matplotlib.pyplot as plt
                async def main(inputs, ctx):
                    plt.figure(figsize=(1, 1), facecolor="red")
                    plt.show()
                """,
            )
            assert colour(made["data"]) == RED
            assert plt.get_fignums() == [of_the_process.number]
    finally:
        plt.close(of_the_process)


async def test_more_than_may_wait_is_counted_and_told(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        """
        from matplotlib.figure import Figure
        async def main(inputs, ctx):
            figure = Figure(figsize=(0.1, 0.1))
            for _ in range(40):
                figure.show()
        """,
        capture=True,
    )
    assert len(all_of(found, events.BlockPreview)) == 32
    [warning] = warnings_of(found)
    assert warning.startswith("8 figures weren't previewed")


async def test_a_show_that_fails_is_a_warning(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        """
        from matplotlib.artist import Artist
        from matplotlib.figure import Figure
        class Bad(Artist):
            def draw(self, renderer):
                raise ValueError("no ink")
        async def main(inputs, ctx):
            figure = Figure(figsize=(1, 1))
            figure.add_artist(Bad())
            figure.show()
        """,
        capture=True,
    )
    assert end_of(found).state == "succeeded"
    [warning] = warnings_of(found)
    assert "a preview of Figure failed" in warning and "no ink" in warning


async def test_without_capture_nothing_is_replaced(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure

    before = (plt.show, plt.figure, Figure.show)
    await previews(tmp_path, "async def main(inputs, ctx): pass")
    assert (plt.show, plt.figure, Figure.show) == before
    found = await run_block(
        tmp_path,
        """
        import matplotlib.pyplot as plt
        async def main(inputs, ctx):
            assert plt.show.__module__ == "matplotlib.pyplot" and not hasattr(plt.show, "__wrapped__")
        """,
    )
    assert end_of(found).state == "succeeded"


def test_nothing_is_imported_and_later_imports_are_patched_and_undone() -> None:
    code = """
import sys
from asyncblock.executor.attribution import capture
capture.install()
print(sorted({"matplotlib", "plotly", "numpy"} & set(sys.modules)), file=sys.__stdout__)
import matplotlib; matplotlib.use("agg")
import matplotlib.pyplot as plt, plotly.graph_objects as go
print(hasattr(plt.show, "__wrapped__"), hasattr(go.Figure.show, "__wrapped__"), file=sys.__stdout__)
print(type(plt.__loader__).__name__, type(plt.__spec__.loader).__name__, file=sys.__stdout__)
capture.uninstall()
print(hasattr(plt.show, "__wrapped__"), hasattr(go.Figure.show, "__wrapped__"))
print(any(type(finder).__name__ == "PlotHooks" for finder in sys.meta_path))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "[]",
        "True True",
        "SourceFileLoader SourceFileLoader",
        "False False",
        "False",
    ]


async def test_what_was_shown_arrives_when_the_finish_waits_for_room(tmp_path: Path) -> None:
    made = await previews(
        tmp_path,
        """
        from matplotlib.figure import Figure
        async def main(inputs, ctx):
            for number in range(12):
                Figure(figsize=(1, 1)).show()
            # Of telemetry 256 KiB may be on the way.
            for number in range(40):
                print("x" * 30_000)
        """,
    )
    assert len(made) == 12


# ---------------------------------------------------------------------- the current figure


GATE = """
import asyncio

class Turns:
    # Lets jobs go on by turns.
    def __init__(self):
        self.at = 0
        self.changed = asyncio.Event()

    async def take(self, number):
        while self.at != number:
            self.changed.clear()
            await self.changed.wait()

    def next(self):
        self.at += 1
        self.changed.set()

turns = Turns()
"""

BY_TURNS = """
import matplotlib.pyplot as plt
import gate

async def main(inputs, ctx):
    first = {first}
    await gate.turns.take(0 if first else 1)
    {make}
    gate.turns.next()
    await gate.turns.take(2 if first else 3)
    {draw}
    gate.turns.next()
    if first:
        await gate.turns.take(4)
    {end}
    return {{"out": {out}}}
"""


async def by_turns(directory: Path, make: str, draw: str, end: str = "pass", out: str = "1", **options: Any) -> Any:
    """Run two jobs that begin to draw one after the other, and go on one after the other."""
    directory.mkdir()
    (directory / "gate.py").write_text(GATE)
    nodes = [
        node(name, BY_TURNS.format(first=name == "a", make=make, draw=draw, end=end, out=out), directory)
        for name in ("a", "b")
    ]
    outputs = [{"handle": name, "from_node": [{"node_id": name, "output_handle": "out"}]} for name in ("a", "b")]
    found = await run_flow(write_flow(directory, nodes, outputs_from=outputs), **options)
    assert end_of(found).state == "succeeded", end_of(found)
    mixed = {event.node_id: event.warning for event in all_of(found, events.BlockWarning) if "pyplot" in event.warning}
    return mixed, end_of(found).outputs, [event.payload for event in all_of(found, events.BlockPreview)]


@pytest.mark.parametrize("draw", ["plt.plot([1, 2])", "plt.title('x')", "plt.savefig(__import__('io').BytesIO())"])
async def test_jobs_that_draw_into_each_other_s_current_figure_are_both_told(draw: str, tmp_path: Path) -> None:
    mixed, _, _ = await by_turns(tmp_path / "f", "plt.figure()", draw, workers=1)
    assert mixed.keys() == {"a", "b"}
    for words in mixed.values():
        assert "node a and node b" in words and "plt.subplots()" in words and "spawn: true" in words


async def test_a_figure_that_two_jobs_know_by_its_number_is_told(tmp_path: Path) -> None:
    mixed, _, _ = await by_turns(tmp_path / "f", "plt.figure(1)", "pass", workers=1)
    assert mixed.keys() == {"a", "b"}


async def test_figures_of_their_own_do_not_mix(tmp_path: Path) -> None:
    make = "fig, ax = plt.subplots(figsize=(1, 1), facecolor='red' if first else 'blue')"
    draw = "ax.plot([1, 2]); plt.show(); plt.close(fig)"
    mixed, _, shown = await by_turns(tmp_path / "f", make, draw, workers=1)
    assert mixed == {}
    assert [colour(each["data"]) for each in shown] == [RED, BLUE]


@pytest.mark.parametrize("close", ["plt.close('all')", "plt.close()"])
async def test_whoever_closes_figures_without_a_name_closes_its_own(close: str, tmp_path: Path) -> None:
    make = "fig, ax = plt.subplots()"
    mixed, outputs, _ = await by_turns(tmp_path / "f", make, close, out="plt.fignum_exists(fig.number)", workers=1)
    assert mixed == {}
    assert outputs == {"a": False, "b": False}


async def test_a_job_s_close_leaves_the_figures_of_others_open(tmp_path: Path) -> None:
    make = "fig, ax = plt.subplots()"
    draw = "first and plt.close('all')"
    _, outputs, _ = await by_turns(tmp_path / "f", make, draw, out="plt.fignum_exists(fig.number)", workers=1)
    assert outputs == {"a": False, "b": True}


async def test_jobs_one_after_the_other_draw_with_pyplot_as_ever(tmp_path: Path) -> None:
    source = """
        import matplotlib.pyplot as plt

        async def main(inputs, ctx):
            plt.plot([1, 2])
            plt.title(inputs.get("in", "first"))
            plt.show()
            return {"out": len(plt.get_fignums())}
        """
    nodes = [node("a", source, tmp_path / "f"), node("b", source, tmp_path / "f", inputs=[{"handle": "in"}])]
    nodes[1]["inputs_from"] = [{"handle": "in", "from_node": [{"node_id": "a", "output_handle": "out"}]}]
    outputs = [{"handle": "out", "from_node": [{"node_id": "b", "output_handle": "out"}]}]
    found = await run_flow(write_flow(tmp_path / "f", nodes, outputs_from=outputs), workers=1)
    assert end_of(found).outputs == {"out": 1}
    assert len(all_of(found, events.BlockPreview)) == 2
    assert not [each for each in all_of(found, events.BlockWarning) if "pyplot" in each.warning]


# ---------------------------------------------------------------------- in a process of the user's


SHOWS = """
import matplotlib
import matplotlib.pyplot as plt
async def main(inputs, ctx):
    plt.figure(figsize=(1, 1), facecolor="red")
    plt.show()
"""


@pytest.mark.parametrize("use", ["", "matplotlib.use('agg')"])
async def test_plt_show_previews_in_process(use: str, tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", SHOWS.replace("import matplotlib\n", f"import matplotlib\n{use}\n"), [])
    command = await run("run", path, "--in-process", state=tmp_path)
    assert command.process.returncode == 0, command.err
    assert [line for line in command.out if "preview: image" in line], command.out
    assert not [line for line in command.err if "non-interactive" in line]


@pytest.fixture
def backend() -> Iterator[None]:
    """matplotlib's backend as the user of a process chooses it."""
    import matplotlib

    before = matplotlib.get_backend()
    matplotlib.use("module://asyncblock.matplotlib_backend")
    try:
        yield
    finally:
        matplotlib.use(before)


async def test_plt_show_previews_where_the_user_has_chosen_the_backend(backend: None, tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    found = await run_block(tmp_path, SHOWS, [])
    assert end_of(found).state == "succeeded"
    [shown] = all_of(found, events.BlockPreview)
    assert colour(shown.payload["data"]) == RED
    assert warnings_of(found) == [] and plt.get_fignums() == []


async def test_the_backend_tells_of_mixed_figures(backend: None, tmp_path: Path) -> None:
    mixed, _, _ = await by_turns(tmp_path / "f", "plt.figure()", "plt.plot([1, 2])")
    assert mixed.keys() == {"a", "b"}


async def test_the_backend_draws_by_itself_outside_a_job(backend: None, tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(1, 1), facecolor="lime")
    try:
        figure.savefig(tmp_path / "a.png")
        with warnings.catch_warnings():
            # Of a backend without windows, where there is a screen.
            warnings.simplefilter("ignore")
            plt.show()
    finally:
        plt.close(figure)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("ignore:.*non-interactive")
@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("", "was left open and not previewed"),
        ("    plt.close()\n", "what the block shows by plt.show() was not previewed"),
    ],
)
@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_where_nothing_is_replaced_a_warning_says_why_nothing_was_shown(
    kind: str, end: str, words: str, tmp_path: Path
) -> None:
    import matplotlib.pyplot as plt

    path = one_block(tmp_path / "f", SHOWS.replace("async def", kind) + end, [])
    plt.figure(figsize=(1, 1))  # of the process
    try:
        async with asyncblock.embedded() as mainframe:
            for _ in range(2):
                found = [event async for event in await mainframe.start(path)]
                assert end_of(found).state == "succeeded"
                assert all_of(found, events.BlockPreview) == []
                [told] = warnings_of(found)
                assert words in told
                for remedy in ("ctx.preview(fig)", "module://asyncblock.matplotlib_backend", "capture=True"):
                    assert remedy in told
            quiet = one_block(tmp_path / "g", "async def main(inputs, ctx):\n    pass\n", [])
            found = [event async for event in await mainframe.start(quiet)]
            assert warnings_of(found) == []
        assert len(plt.get_fignums()) == (1 if end else 3)
    finally:
        plt.close("all")
