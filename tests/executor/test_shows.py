"""``plt.show()`` and ``fig.show()`` in a block."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asyncblock import events

from ..flows import all_of, end_of, run_block
from ..preview.showing import picture


async def previews(directory: Path, source: str, **options: Any) -> list[Any]:
    found = await run_block(directory, textwrap.dedent(source), capture=True, **options)
    assert end_of(found).state == "succeeded", end_of(found)
    assert not [each for each in all_of(found, events.BlockWarning) if "event loop" not in each.warning]
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
    [warning] = [each for each in all_of(found, events.BlockWarning) if "event loop" not in each.warning]
    assert warning.warning.startswith("8 figures weren't previewed")


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
    [warning] = [each for each in all_of(found, events.BlockWarning) if "event loop" not in each.warning]
    assert "a preview of Figure failed" in warning.warning and "no ink" in warning.warning


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
from asyncblock.executor import capture
capture.install()
print(sorted({"matplotlib", "plotly", "numpy"} & set(sys.modules)), file=sys.__stdout__)
import matplotlib; matplotlib.use("agg")
import matplotlib.pyplot as plt, plotly.graph_objects as go
print(hasattr(plt.show, "__wrapped__"), hasattr(go.Figure.show, "__wrapped__"), file=sys.__stdout__)
print(type(plt.__loader__).__name__, type(plt.__spec__.loader).__name__, file=sys.__stdout__)
capture.uninstall()
print(hasattr(plt.show, "__wrapped__"), hasattr(go.Figure.show, "__wrapped__"))
print(any(type(finder).__name__ == "Shows" for finder in sys.meta_path))
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
