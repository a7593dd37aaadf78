"""Figures: which process and thread draws them, and what happens when that fails."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from asyncblock import preview
from asyncblock.errors import PreviewFailed
from asyncblock.preview import Limits, Making, figurepickle
from asyncblock.preview.figure import png_of
from asyncblock.preview.figurepickle import NotSendable, pack, unpack

from .showing import picture, show


@pytest.fixture(autouse=True, scope="module")
def _one_worker_for_all() -> Iterator[None]:
    yield
    preview.close_worker()


class Drawn(Artist):
    """Does something when it is drawn; what it says is written to a file, for it may be in another process."""

    def __init__(self, path: Path, act: str = "") -> None:
        super().__init__()
        self._path = str(path)
        self._act = act

    def draw(self, renderer: Any) -> None:
        with open(self._path, "a") as file:
            file.write(f"{os.getpid()} {threading.current_thread().name}\n")
        if self._act == "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif self._act == "raise":
            raise ValueError("no ink")
        elif self._act == "hang":
            threading.Event().wait()
        elif self._act == "grow":
            # Not freed: it stays with the process.
            sys.modules["kept"] = b"x" * (800 << 20)  # type: ignore[assignment]
        elif self._act == "leave":
            os._exit(7)


class Bound(Drawn):
    """Can't be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("stays here")


def figure(*artists: Artist, size: tuple[float, float] = (2, 1), dpi: float = 50) -> Figure:
    made = Figure(figsize=size, dpi=dpi)
    made.subplots().plot([1, 2])
    for artist in artists:
        made.add_artist(artist)
    return made


def drawn(path: Path) -> tuple[int, str]:
    [line] = path.read_text().splitlines()
    pid, _, thread = line.partition(" ")
    return int(pid), thread


def size_of(made: Figure) -> Any:
    """Return the size that matplotlib itself gives a picture of a figure: it differs by its version."""
    saved = io.BytesIO()
    made.savefig(saved, bbox_inches="tight")
    return _read(saved.getvalue()).size


async def finished(payload: object, **limits: Any) -> dict[str, Any]:
    return await Making(payload, None, Limits(**limits)).finish()


async def test_a_figure_is_drawn_in_the_worker_process_and_the_next_one_too(tmp_path: Path) -> None:
    pids, size = set(), size_of(figure())
    for name in ("a", "b"):
        made = await finished(figure(Drawn(tmp_path / name)))
        assert picture(made["data"]).size == size
        pids.add(drawn(tmp_path / name)[0])
    assert pids == {preview.worker_pid()}
    assert pids != {os.getpid()}


async def test_figures_are_drawn_one_at_a_time(tmp_path: Path) -> None:
    figures = [figure(Drawn(tmp_path / "same")) for _ in range(4)]
    made = await asyncio.gather(*map(finished, figures))
    assert len({each["data"] for each in made}) == 1
    lines = (tmp_path / "same").read_text().splitlines()
    assert len(lines) == 4 and len(set(lines)) == 1


def test_a_sync_block_draws_in_the_worker_too(tmp_path: Path) -> None:
    assert show(figure(Drawn(tmp_path / "a")))["type"] == "image"
    assert drawn(tmp_path / "a")[0] == preview.worker_pid()


async def test_the_picture_is_the_one_that_would_be_drawn_here() -> None:
    with matplotlib.rc_context({"lines.antialiased": False, "path.simplify_threshold": 1.0, "font.size": 5}):
        x = np.linspace(0, 9, 3000)
        here = figure()
        here.axes[0].plot(x, np.sin(x * 9))
        made = await finished(here)
        assert np.array_equal(np.asarray(picture(made["data"])), np.asarray(_read(png_of(here, 10**6))))


def _read(png: bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(png))


async def test_the_figure_keeps_its_canvas_and_dpi(tmp_path: Path) -> None:
    for artist in (Drawn(tmp_path / "a"), Bound(tmp_path / "b")):
        made = figure(artist)
        canvas = made.canvas
        await finished(made, pixels=100)
        assert (made.canvas, made.dpi) == (canvas, 50)


async def test_a_figure_that_cannot_be_pickled_is_drawn_on_a_thread(tmp_path: Path) -> None:
    made = await finished(figure(Bound(tmp_path / "a")))
    assert picture(made["data"]).size == size_of(figure())
    pid, thread = drawn(tmp_path / "a")
    assert pid == os.getpid() and thread != "MainThread"


async def test_a_figure_of_a_class_that_the_worker_lacks_is_drawn_on_a_thread(tmp_path: Path) -> None:
    class Local(Drawn):
        pass

    Local.__qualname__ = "Lacking"
    globals()["Lacking"] = Local
    try:
        await finished(figure(Local(tmp_path / "a")))
    finally:
        del globals()["Lacking"]
    assert drawn(tmp_path / "a")[0] == os.getpid()


async def test_a_figure_over_its_bytes_is_drawn_on_a_thread(tmp_path: Path) -> None:
    made = figure(Drawn(tmp_path / "a"))
    made.axes[0].imshow(np.zeros((500, 500)))
    await finished(made, figure_bytes=1_000_000)
    assert drawn(tmp_path / "a")[0] == os.getpid()


def test_pickling_stops_at_its_limit_and_does_not_copy_large_arrays() -> None:
    made = figure()
    data = np.zeros((1000, 1000))
    made.axes[0].imshow(data)
    with pytest.raises(NotSendable, match="more than"):
        pack(made, 10_000)
    assert any(isinstance(piece, memoryview) and piece.nbytes == data.nbytes for piece in pack(made, 1 << 30))


def test_types_of_numbers_come_out_as_numpys_own() -> None:
    made = figure()
    made.axes[0].imshow(np.zeros((100, 100, 3)))
    again = unpack(io.BytesIO(b"".join(pack(made, 1 << 30))))()
    [image] = again.axes[0].images
    assert image.get_array().dtype is np.dtype(float)


def test_the_columns_of_a_lines_points_travel_once() -> None:
    made = figure()
    [line] = made.axes[0].plot(np.arange(100_000.0), np.arange(100_000.0))
    # x, y, and the points, whose columns are views; matplotlib 3.9 has a copy of these for the line's path.
    points = np.asarray(line.get_xydata())
    copied = 0 if np.shares_memory(line.get_path().vertices, points) else points.nbytes
    assert sum(len(memoryview(piece).cast("B")) for piece in pack(made, 1 << 30)) < 3_400_000 + copied


async def test_a_figure_that_kills_the_worker_fails_alone(tmp_path: Path) -> None:
    for act, words in (("die", "killed by SIGSEGV"), ("leave", "exited with code 7")):
        with pytest.raises(PreviewFailed, match=f"died while it drew this one: it (was )?{words}"):
            await finished(figure(Drawn(tmp_path / act, act)))
        await finished(figure(Drawn(tmp_path / f"after {act}")))
        assert drawn(tmp_path / f"after {act}")[0] == preview.worker_pid() != os.getpid()


async def test_a_figure_that_raises_says_what(tmp_path: Path) -> None:
    await finished(figure())
    before = preview.worker_pid()
    with pytest.raises(PreviewFailed, match="ValueError: no ink"):
        await finished(figure(Drawn(tmp_path / "a", "raise")))
    assert preview.worker_pid() == before


async def test_a_figure_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    await finished(figure())
    with pytest.raises(PreviewFailed, match=r"longer than 0\.2 s and was stopped"):
        await finished(figure(Drawn(tmp_path / "a", "hang")), seconds=0.2)
    await finished(figure())


async def test_cancelling_the_wait_ends_the_drawing(tmp_path: Path) -> None:
    await finished(figure())
    pid = preview.worker_pid()
    assert pid is not None
    os.mkfifo(tmp_path / "fifo")
    hanging = asyncio.create_task(finished(figure(Drawn(tmp_path / "fifo", "hang"))))
    # Opened by the drawing: it has begun.
    assert (await asyncio.to_thread((tmp_path / "fifo").read_text)).startswith(f"{pid} ")
    waiting = asyncio.create_task(finished(figure(Drawn(tmp_path / "never"))))
    await asyncio.sleep(0)
    for task in (hanging, waiting):
        task.cancel()
    await asyncio.wait([hanging, waiting])
    assert hanging.cancelled() and waiting.cancelled()
    await finished(figure())
    assert preview.worker_pid() != pid
    assert not (tmp_path / "never").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_closed_worker_is_gone_and_the_next_figure_starts_another() -> None:
    await finished(figure())
    pid = preview.worker_pid()
    assert pid is not None
    await asyncio.to_thread(preview.close_worker)
    assert preview.worker_pid() is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    await finished(figure())
    assert preview.worker_pid() not in (None, pid)


@pytest.mark.parametrize("size", [(100, 1), (300, 300), (0.01, 0.01)])
async def test_the_pixels_of_a_figure_are_capped_before_it_is_drawn(size: tuple[float, float]) -> None:
    made = Figure(figsize=size, dpi=1000)
    shown = picture((await finished(made, pixels=90_000))["data"])
    assert shown.width * shown.height <= 90_000
    assert max(shown.size) <= 16_000


async def test_axes_and_subfigures_show_their_figure() -> None:
    made = Figure(figsize=(2, 1), dpi=50)
    left = made.add_subfigure(GridSpec(1, 2, made)[0])
    axes = left.subplots()
    whole = await finished(made)
    assert await finished(axes) == whole
    assert await finished(left) == whole
    several = await finished({"type": "image", "data": [made, "u", axes]})
    assert several == {"type": "image", "data": [whole["data"], "u", whole["data"]]}


async def test_a_figure_that_only_this_process_can_read_is_shown_as_it_was_at_the_call() -> None:
    """A block's functions and classes are known to its executor only."""
    made = figure()
    made.axes[0].xaxis.set_major_formatter(lambda value, position: f"{value:.1f}")
    shown = []
    for colour in ("red", "blue"):
        made.set_facecolor(colour)
        shown.append(Making(made, None, None, now=True))
    assert all(each.size for each in shown), "taken, not drawn"
    assert [picture((await each.finish())["data"]).getpixel((0, 0))[:3] for each in shown] == [(255, 0, 0), (0, 0, 255)]
    del shown, made
    assert not figurepickle._kept


async def test_what_pyplot_knows_is_not_known_twice_when_it_is_read_here() -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    made, axes = plt.subplots(figsize=(2, 1))
    axes.xaxis.set_major_formatter(lambda value, position: "x")
    try:
        await Making(made, None, None, now=True).finish()
        assert plt.get_fignums() == [*before, made.number]
    finally:
        plt.close(made)


class Quits(Drawn):
    def __reduce__(self) -> Any:
        raise SystemExit


async def test_a_figure_that_raises_what_ends_a_process_is_a_preview_that_failed(tmp_path: Path) -> None:
    with pytest.raises(PreviewFailed, match="it raised SystemExit"):
        await finished(figure(Quits(tmp_path / "a")))
    with pytest.raises(PreviewFailed, match="it raised SystemExit"):
        Making(figure(Quits(tmp_path / "a")), None, None, now=True)


async def test_the_first_figure_of_a_worker_has_no_more_time_than_others(tmp_path: Path) -> None:
    await asyncio.to_thread(preview.close_worker)
    async with asyncio.timeout(30):
        with pytest.raises(PreviewFailed, match=r"longer than 0\.2 s"):
            await finished(figure(Drawn(tmp_path / "a", "hang")), seconds=0.2)


class Saving:
    """Draws itself, and isn't matplotlib's."""

    def savefig(self, file: Any, format: str) -> None:
        file.write(b"\x89PNG " + threading.current_thread().name.encode())


async def test_what_has_a_savefig_draws_itself_on_a_thread() -> None:
    from base64 import b64decode

    made = await finished(Saving())
    name = b64decode(made["data"].partition(",")[2])
    assert name.startswith(b"\x89PNG ") and b"MainThread" not in name


async def test_pyplot_knows_nothing_of_it() -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    made, axes = plt.subplots(figsize=(2, 1))
    try:
        axes.plot([1, 2])
        assert (await finished(made))["type"] == "image"
        assert plt.get_fignums() == [*before, made.number]
        assert plt.gcf() is made
    finally:
        plt.close(made)


def test_the_worker_goes_with_its_process(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from matplotlib.figure import Figure
from asyncblock import preview
preview.Making(Figure(), None, None).finish_blocking()
print(preview.worker_pid(), flush=True)
if sys.argv[1] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""
    for how in ("leave", "kill"):
        with subprocess.Popen([sys.executable, "-c", code, how], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            pid = int(process.stdout.readline())
            process.wait(30)
        _await_end(pid)


def _await_end(pid: int) -> None:
    """Wait for a process that isn't our child."""
    import select

    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], 30)[0], "the worker lives on"
    finally:
        os.close(fd)


def test_a_large_parent_does_not_make_its_worker_look_large(tmp_path: Path) -> None:
    code = """
from matplotlib.figure import Figure
from asyncblock import preview
held = b"x" * (800 << 20)
pids = set()
for _ in range(2):
    preview.Making(Figure(figsize=(1, 1)), None, None).finish_blocking()
    pids.add(preview.worker_pid())
print(len(pids), None in pids)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1 False\n"


async def test_a_worker_that_has_grown_is_replaced(tmp_path: Path) -> None:
    await finished(figure(Drawn(tmp_path / "a", "grow")))
    assert preview.worker_pid() is None
    await finished(figure(Drawn(tmp_path / "b")))
    assert drawn(tmp_path / "a")[0] != drawn(tmp_path / "b")[0] == preview.worker_pid()


class Hanging(Artist):
    """Is pickled for as long as it likes."""

    def __init__(self, go: threading.Event) -> None:
        super().__init__()
        self._go = go

    def __reduce__(self) -> Any:
        self._go.wait(30)
        return Artist, ()


async def test_a_figure_whose_pickling_hangs_holds_up_no_other() -> None:
    go = threading.Event()
    hanging = figure(Hanging(go))
    try:
        task = asyncio.create_task(finished(hanging, seconds=2))
        assert (await finished(figure()))["type"] == "image"
        assert not task.done()
        with pytest.raises(PreviewFailed, match="pickling it took longer than 2 s"):
            await task
    finally:
        go.set()


async def test_a_figure_that_takes_long_to_be_pickled_is_drawn_when_it_is() -> None:
    go = threading.Event()
    task = asyncio.create_task(finished(figure(Hanging(go))))
    assert (await finished(figure()))["type"] == "image"
    go.set()
    assert (await task)["type"] == "image"


# ---------------------------------------------------------------------- as its author sees it


def test_what_is_outside_of_the_axes_is_not_cut() -> None:
    made = Figure(figsize=(2, 2), dpi=100)
    axes = made.subplots()
    axes.plot([1, 2], label="a label that is rather long")
    within = picture(show(made)["data"]).size
    axes.legend(bbox_to_anchor=(1.05, 1), loc="upper left")
    assert picture(show(made)["data"]).size[0] > within[0] + 100


def test_what_is_far_away_does_not_make_the_picture_large() -> None:
    made = Figure(figsize=(2, 2), dpi=100)
    axes = made.subplots()
    axes.set_xlim(0, 1)
    axes.text(100, 0.5, "far")
    assert picture(show(made)["data"]).size == (200, 200)


def test_the_authors_settings_of_saved_figures_are_kept() -> None:
    made = figure()
    plain = picture(show(made)["data"])
    with matplotlib.rc_context({"savefig.dpi": 200, "savefig.facecolor": "yellow"}):
        chosen = picture(show(made)["data"])
    assert chosen.getpixel((0, 0))[:3] == (255, 255, 0)
    assert abs(chosen.size[0] - 4 * plain.size[0]) <= 8
    with matplotlib.rc_context({"savefig.transparent": True}):
        assert picture(show(made)["data"]).getpixel((0, 0))[3] == 0


@pytest.mark.parametrize("layout", ["constrained", "tight", None])
def test_layouts_and_three_dimensions_are_drawn(layout: Any) -> None:
    made = Figure(layout=layout)
    made.add_subplot(1, 2, 1).set_xlabel("x")
    made.add_subplot(1, 2, 2, projection="3d").set_zlabel("z")
    assert show(made)["type"] == "image"


def test_a_figure_of_noise_has_few_enough_bytes() -> None:
    made = Figure(figsize=(8, 8), dpi=150)
    made.subplots().imshow(np.random.default_rng(1).random((1200, 1200, 3)), interpolation="none")
    assert 50_000 < len(show(made, bytes=300_000)["data"]) <= 300_000


def moving(**options: Any) -> Any:
    from matplotlib.animation import FuncAnimation

    made = Figure(figsize=(1, 1), dpi=50)
    axes = made.subplots()
    [line] = axes.plot([0], [0])
    axes.set_xlim(0, 50)
    axes.set_ylim(0, 50)

    def draw(number: int) -> Any:
        line.set_data([0, number], [0, number])
        return [line]

    return FuncAnimation(made, draw, **options)


def test_an_animation_moves() -> None:
    animation = moving(frames=5, interval=200)
    canvas = animation._fig.canvas
    url = show(animation)["data"]
    with _gif(url) as image:
        assert image.n_frames == 5 and min(image.size) >= 50
        assert image.info["duration"] == 200
    assert animation._fig.canvas is canvas


def test_the_legend_of_an_animation_is_not_cut() -> None:
    from matplotlib.animation import FuncAnimation

    figure = Figure(figsize=(2, 1), dpi=50)
    axes = figure.add_axes((0, 0, 1, 1))
    [line] = axes.plot([0, 1], label="a legend outside")
    axes.legend(loc="center left", bbox_to_anchor=(1.05, 0.5))
    # Wider from frame to frame: all show what the widest has.
    note = axes.text(0, -0.5, "", fontsize=20)

    def draw(number: int) -> list[Any]:
        note.set_text("x" * 5 * number)
        return [line]

    animation = FuncAnimation(figure, draw, frames=4)
    with _gif(show(animation)["data"]) as image:
        assert image.n_frames == 4
        assert image.size[0] > 180 and image.size[1] > 70


def test_of_a_long_animation_the_first_frames_are_shown() -> None:
    from itertools import count

    made = show(moving(frames=count, save_count=10_000))
    assert made["note"] == "the first 30 frames"
    with _gif(made["data"]) as image:
        assert image.n_frames == 30


def test_an_animation_whose_frames_cannot_be_made_is_a_still() -> None:
    from matplotlib.animation import FuncAnimation

    def draw(number: int) -> Any:
        raise ValueError("no frame")

    made = show(FuncAnimation(Figure(figsize=(1, 1)), draw, frames=3, init_func=list))
    assert made["data"].startswith("data:image/png") and "ValueError: no frame" in made["note"]


def _gif(url: str) -> Any:
    import io
    from base64 import b64decode

    from PIL import Image

    head, _, data = url.partition(",")
    assert head == "data:image/gif;base64"
    return Image.open(io.BytesIO(b64decode(data)))
