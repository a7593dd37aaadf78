from __future__ import annotations

import asyncio
import codecs
import concurrent.futures
import contextlib
import contextvars
import functools
import io
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asyncblock.executor.attribution import capture
from asyncblock.executor.attribution.capture import current_sink, flush_job, install, uninstall

Line = tuple[str, str]


class Lines:
    """A sink that keeps the lines."""

    def __init__(self) -> None:
        self.all: list[Line] = []

    def line(self, text: str, stdio: str, /) -> None:
        self.all.append((text, stdio))


class Stream(io.TextIOWrapper):
    """A real stream whose text can be read."""

    def __init__(self) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding="utf-8", newline="\n", write_through=True)

    @property
    def text(self) -> str:
        return self.bytes.getvalue().decode(errors="replace")

    def isatty(self) -> bool:
        return True


class Real:
    """The process's streams and root logger as they are when nobody has touched them.

    Entered in the test itself: pytest puts its own streams and handlers in place for each phase of a test.
    """

    def __init__(self) -> None:
        self.stdout, self.stderr = Stream(), Stream()

    def texts(self) -> tuple[str, str]:
        return self.stdout.text, self.stderr.text


@contextlib.contextmanager
def process() -> Iterator[Real]:
    real = Real()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with contextlib.redirect_stdout(real.stdout), contextlib.redirect_stderr(real.stderr):
        root.handlers.clear()
        root.setLevel(logging.WARNING)
        try:
            yield real
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
    assert capture._installed is None


@contextlib.contextmanager
def captured_process() -> Iterator[Real]:
    with process() as real:
        install()
        try:
            yield real
        finally:
            uninstall()


def in_job(block: Callable[[], object], sink: capture.Sink | None = None) -> list[Line]:
    """Run a function as a job and return its lines."""
    lines = Lines()
    context = contextvars.copy_context()
    context.run(current_sink.set, sink or lines)
    context.run(block)
    flush_job(sink or lines)
    return lines.all


def print_and_log(logger: logging.Logger | None = None) -> bool:
    print("a")
    (logger or logging.getLogger()).warning("b")
    return True


def out(*lines: str) -> list[Line]:
    return [(line, "stdout") for line in lines]


def err(*lines: str) -> list[Line]:
    return [(line, "stderr") for line in lines]


# ---------------------------------------------------------------------- print and the streams


PRINTS: dict[str, tuple[Callable[[], object], list[Line]]] = {
    "line": (lambda: print("hello"), out("hello")),
    "sep": (lambda: print("a", "b", sep=""), out("ab")),
    "end": (lambda: (print("a", end=""), print("b")), out("ab")),
    "empty": (lambda: print(), out("")),
    "lines": (lambda: print("a\n\nb"), out("a", "", "b")),
    "stderr": (lambda: print("a", file=sys.stderr), err("a")),
    "streams apart": (
        lambda: (print("a", end=""), print("b", end="", file=sys.stderr), print("c"), print("d", file=sys.stderr)),
        [*out("ac"), *err("bd")],
    ),
    "rest": (lambda: print("a", end=""), out("a")),
    "flush doesn't end a line": (lambda: (print("a", end="", flush=True), print("b")), out("ab")),
    "write": (lambda: sys.stdout.write("a\nb"), out("a", "b")),
    "writelines": (lambda: sys.stdout.writelines(["a\n", "b\n"]), out("a", "b")),
    "carriage return": (lambda: print("a\r\nb\r\n", end=""), out("a", "b")),
    "split carriage return": (lambda: (print("a", end="\r"), print("\nb")), out("a", "b")),
    "progress bar": (lambda: [print(f"\r{i} %", end="") for i in range(101)], out("100 %")),
    "progress bar that clears itself": (lambda: print("\r5 %\r   \r", end=""), out("   ")),
    "bytes": (lambda: sys.stdout.buffer.write("hé\n".encode()), out("hé")),
    "split bytes": (lambda: [sys.stdout.buffer.write(bytes([b])) for b in "é\n".encode()], out("é")),
    "bytes cut off": (lambda: sys.stdout.buffer.write(b"a\xc3"), out("a\ufffd")),
    "bytes and text": (lambda: (sys.stdout.buffer.write(b"a"), sys.stdout.write("b\n")), out("ab")),
    "bytearray": (lambda: sys.stdout.buffer.write(bytearray(b"a\n")), out("a")),
    "surrogate": (lambda: print("\udcff"), out("\udcff")),
    "to a file": (lambda: print("a", file=io.StringIO()), []),
}


@pytest.mark.parametrize(("block", "lines"), PRINTS.values(), ids=PRINTS)
def test_what_a_job_prints_becomes_lines(block: Callable[[], object], lines: list[Line]) -> None:
    with captured_process() as captured:
        assert in_job(block) == lines
        assert captured.texts() == ("", "")


@pytest.mark.parametrize("block", [block for block, _ in PRINTS.values()], ids=PRINTS)
def test_outside_a_job_the_real_stream_gets_all(block: Callable[[], object]) -> None:
    with process() as real:
        if block is PRINTS["surrogate"][0]:
            with pytest.raises(UnicodeEncodeError):
                block()
            return
        block()
        before = real.texts()
        install()
        block()
        uninstall()
        assert real.texts() == (before[0] * 2, before[1] * 2)


def test_streams_say_what_they_are() -> None:
    with captured_process() as captured:

        def describe() -> tuple[object, ...]:
            stream = sys.stdout
            return (
                stream.encoding,
                stream.writable(),
                stream.readable(),
                stream.closed,
                stream.isatty(),
                stream.buffer.isatty(),
            )

        told: list[tuple[object, ...]] = []
        in_job(lambda: told.append(describe()))
        assert told == [("utf-8", True, False, False, False, False)]
        assert describe() == ("utf-8", True, False, False, True, True)
        assert isinstance(sys.stdout, io.TextIOBase)
        assert sys.stdout.newlines is captured.stdout.newlines


def test_write_returns_the_length_and_wants_text() -> None:
    with captured_process():

        def block() -> None:
            assert sys.stdout.write("abc") == 3
            assert sys.stdout.buffer.write(b"de") == 2
            with pytest.raises(TypeError, match="must be str, not int"):
                sys.stdout.write(5)  # type: ignore[arg-type]  # the mistake under test
            with pytest.raises(TypeError):
                sys.stdout.buffer.write("text")  # type: ignore[call-overload]  # the mistake under test

        assert in_job(block) == out("abcde")


def test_a_job_can_neither_close_nor_reconfigure_the_stream() -> None:
    with captured_process() as captured:

        def block() -> None:
            sys.stdout.buffer.close()
            sys.stdout.close()
            sys.stdout.reconfigure(encoding="ascii")  # type: ignore[union-attr]  # as blocks write it
            print("é")

        assert in_job(block) == out("é")
        print("é")
        assert captured.texts() == ("é\n", "")
        sys.stdout.reconfigure(encoding="ascii")  # type: ignore[union-attr]  # as above
        assert captured.stdout.encoding == "ascii"


def test_child_processes_write_to_the_real_descriptor(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with captured_process() as captured:
        with open(tmp_path / "out", "w") as file:
            monkeypatch.setattr(captured.stdout, "fileno", file.fileno, raising=False)
            lines = in_job(
                lambda: subprocess.run([sys.executable, "-c", "print('child')"], stdout=sys.stdout, check=True)
            )
        assert lines == []
        assert (tmp_path / "out").read_text() == "child\n"


def test_a_line_without_end_goes_out_in_pieces() -> None:
    with captured_process():
        lines = in_job(lambda: [print("x" * 1000, end="") for _ in range(200)])
        assert sum(len(text) for text, _ in lines) == 200_000
        assert max(len(text) for text, _ in lines) < 70_000


def test_echo_writes_lines_to_the_real_streams_too() -> None:
    with process() as real:
        install(echo=True)
        lines = in_job(lambda: (print("x", end=""), print_and_log(), print("c", file=sys.stderr), print("d", end="")))
        assert lines == [*out("xa"), *err("WARNING root: b", "c"), *out("d")]
        uninstall()
        assert real.texts() == ("xa\nd\n", "WARNING root: b\nc\n")


def test_jobs_keep_their_half_lines_apart() -> None:
    with captured_process():
        one, two = Lines(), Lines()
        for text in ("a", "b"):
            for sink in (one, two):
                context = contextvars.copy_context()
                context.run(current_sink.set, sink)
                context.run(print, text, end="" if text == "a" else "\n")
        assert (one.all, two.all) == (out("ab"), out("ab"))


def test_flush_knows_a_job_by_any_of_its_sinks() -> None:
    with captured_process():

        class Face:
            def __init__(self, line: Callable[[str, str], None]) -> None:
                self.line = line

        lines = Lines()
        context = contextvars.copy_context()
        context.run(current_sink.set, Face(lines.line))
        context.run(print, "a", end="")
        flush_job(Face(lines.line))
        flush_job(Face(lines.line))
        assert lines.all == out("a")


async def test_tasks_of_a_job_belong_to_it() -> None:
    with captured_process():

        async def block(name: str, lines: Lines) -> None:
            current_sink.set(lines)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(child(name))
            await asyncio.to_thread(print, name, "in a thread")
            await asyncio.get_running_loop().run_in_executor(None, print, name, "in the executor")

        async def child(name: str) -> None:
            print(name, end=" ")
            await asyncio.sleep(0)
            print("in a task")

        sinks = {name: Lines() for name in "abc"}
        await asyncio.gather(*(block(name, sink) for name, sink in sinks.items()))
        for name, sink in sinks.items():
            assert sink.all == out(f"{name} in a task", f"{name} in a thread", f"{name} in the executor")


# ---------------------------------------------------------------------- sinks that misbehave


def test_a_sink_that_raises_does_not_fail_the_print() -> None:
    with captured_process() as captured:

        class Refusing:
            def line(self, text: str, stdio: str, /) -> None:
                raise ValueError(text)

        in_job(lambda: (print("x", end=""), print_and_log(), print("c", end="")), Refusing())
        assert captured.texts() == ("", "")


def test_a_sink_that_prints_and_logs_does_not_recurse() -> None:
    with captured_process() as captured:

        class Talking(Lines):
            def line(self, text: str, stdio: str, /) -> None:
                super().line(text, stdio)
                print("printed by the sink")
                logging.getLogger("somelibrary").warning("logged by the sink")

        sink = Talking()
        in_job(print_and_log, sink)
        assert sink.all == [*out("a"), *err("WARNING root: b")]
        assert captured.texts() == ("printed by the sink\n" * 2, "logged by the sink\n" * 2)


def test_an_exit_raised_in_a_sink_reaches_the_block() -> None:
    """The executor raises in the thread of a sync block that waits in a print."""
    with captured_process() as captured:

        class Exiting(Lines):
            def line(self, text: str, stdio: str, /) -> None:
                if not self.all:
                    super().line(text, stdio)
                    raise SystemExit

        sink = Exiting()
        with pytest.raises(SystemExit):
            in_job(lambda: print("a"), sink)
        print("still captured outside")
        assert captured.texts() == ("still captured outside\n", "")


def test_a_sink_that_waits_holds_up_nobody_else() -> None:
    with captured_process():
        gate, waiting = threading.Event(), threading.Event()

        class Waiting(Lines):
            def line(self, text: str, stdio: str, /) -> None:
                waiting.set()
                assert gate.wait(30)
                super().line(text, stdio)

        says: list[Callable[[str], object]] = [print, logging.warning]
        for say in says:
            gate.clear()
            waiting.clear()
            sink = Waiting()
            thread = threading.Thread(target=in_job, args=(functools.partial(say, "slow"), sink))
            thread.start()
            assert waiting.wait(30)
            assert [text[-5:] for text, _ in in_job(functools.partial(say, "quick"))] == ["quick"]
            gate.set()
            thread.join()
            assert len(sink.all) == 1


# ---------------------------------------------------------------------- threads


def threads_of(target: Callable[[], object]) -> dict[str, Callable[[], object]]:
    class Sub(threading.Thread):
        def run(self) -> None:
            target()

    def joined(thread: threading.Thread) -> None:
        thread.start()
        thread.join()
        assert "run" not in vars(thread)

    def pool() -> None:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(target).result()
            list(pool.map(lambda _: target(), [1]))

    return {
        "thread": lambda: joined(threading.Thread(target=target)),
        "subclass": lambda: joined(Sub()),
        "timer": lambda: joined(threading.Timer(0, target)),
        "thread of a thread": lambda: joined(threading.Thread(target=lambda: joined(threading.Thread(target=target)))),
        "pool": pool,
    }


@pytest.mark.parametrize("kind", threads_of(print))
def test_threads_of_a_job_belong_to_it(kind: str) -> None:
    with captured_process() as captured:
        start = threads_of(lambda: print("hello"))[kind]
        lines = in_job(start)
        assert lines == out("hello") * (2 if kind == "pool" else 1)
        start()
        assert captured.stdout.text == "hello\n" * len(lines)


def test_a_shared_pool_s_workers_belong_to_no_job() -> None:
    with captured_process() as captured:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            assert in_job(lambda: pool.submit(print, "a").result()) == out("a")
            assert in_job(lambda: pool.submit(print, "b").result()) == out("b")
            pool.submit(print, "c").result()
        assert captured.texts() == ("c\n", "")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_traceback_of_a_thread_belongs_to_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    with captured_process():
        monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)

        def block() -> None:
            thread = threading.Thread(target=lambda: 1 / 0, name="mine")
            thread.start()
            thread.join()

        lines = [text for text, _ in in_job(block)]
        assert lines[0] == "Exception in thread mine:"
        assert lines[-1] == "ZeroDivisionError: division by zero"


# ---------------------------------------------------------------------- logging


LOGS: dict[str, tuple[Callable[[], object], list[Line]]] = {
    "info": (lambda: logging.getLogger("a.b").info("x %d", 1), out("INFO a.b: x 1")),
    "warning": (lambda: logging.warning("x"), err("WARNING root: x")),
    "below the level": (lambda: logging.getLogger("a").debug("x"), []),
    "basicConfig in a block": (lambda: _configure_and_log(), out("INFO root: x")),
    "child of a stopped logger": (lambda: logging.getLogger("stopped_logger.a").error("x"), []),
    "ours": (lambda: logging.getLogger("asyncblock.link").warning("x"), []),
    "root of ours": (lambda: logging.getLogger("asyncblock").warning("x"), []),
    "an example of ours": (
        lambda: logging.getLogger("asyncblock.examples.a").info("x"),
        out("INFO asyncblock.examples.a: x"),
    ),
    "not ours": (lambda: logging.getLogger("asyncblocks").info("x"), out("INFO asyncblocks: x")),
    "exception": (lambda: _log_exception(), err("ERROR root: x\nValueError: y")),
}


def _configure_and_log() -> None:
    logging.basicConfig(level=logging.DEBUG)
    logging.info("x")


def _log_exception() -> None:
    try:
        raise ValueError("y").with_traceback(None)
    except ValueError as error:
        logging.error("x", exc_info=error.with_traceback(None))


@pytest.mark.parametrize(("block", "lines"), LOGS.values(), ids=LOGS)
def test_what_a_job_logs_becomes_lines(block: Callable[[], object], lines: list[Line]) -> None:
    with captured_process():
        logging.getLogger("stopped_logger").propagate = False
        # Without a handler, logging's last resort would print what nobody takes.
        logging.getLogger("stopped_logger").handlers = [logging.NullHandler()]
        found = in_job(block)
        if "exception" in lines[0][0] if lines else False:
            found = [(text.split("\n")[0], stdio) for text, stdio in found]
        assert [(text.replace("Traceback (most recent call last):\n", ""), stdio) for text, stdio in found] == lines


def test_a_bad_log_call_is_told_to_the_job() -> None:
    with captured_process() as captured:
        lines = [text for text, _ in in_job(lambda: logging.warning("%d", "x"))]
        assert lines[0] == "--- Logging error ---"
        assert captured.texts() == ("", "")


def test_ours_go_where_they_went_before() -> None:
    with captured_process() as captured:
        ours = logging.getLogger("asyncblock.link")
        assert in_job(lambda: ours.warning("from a job")) == []
        assert in_job(lambda: ours.info("unseen")) == []
        ours.warning("from nowhere")
        assert captured.texts() == ("", "from a job\nfrom nowhere\n")


def test_the_process_s_handlers_see_what_they_saw_before_and_no_job() -> None:
    with process() as real:
        logging.basicConfig(format="%(name)s %(message)s")
        chatty = logging.getLogger("chatty_of_the_test")
        chatty.setLevel(logging.DEBUG)

        def log() -> None:
            chatty.debug("its own level")
            logging.getLogger("quiet").info("below the root's level")
            logging.getLogger("quiet").warning("shown")
            logging.getLogger("asyncblock.x").warning("ours")

        log()
        before = real.stderr.text
        install()
        log()
        lines = in_job(log)
        uninstall()
        assert [text.split(": ")[1] for text, _ in lines] == ["its own level", "below the root's level", "shown"]
        assert real.stderr.text == before * 2 + "asyncblock.x ours\n"
        log()
        assert real.stderr.text == before * 2 + "asyncblock.x ours\n" + before


def test_a_handler_of_a_block_s_own_writes_into_the_job() -> None:
    with captured_process():
        mine = logging.getLogger("mine_of_the_test")

        def block() -> None:
            handler = logging.StreamHandler()
            mine.addHandler(handler)
            mine.propagate = False
            mine.warning("x")
            mine.removeHandler(handler)

        assert in_job(block) == err("x")


def test_what_a_handler_of_a_block_s_own_writes_is_not_told_twice() -> None:
    with captured_process():
        mine = logging.getLogger("twice_of_the_test")

        def log(handler: logging.Handler) -> Callable[[], None]:
            def block() -> None:
                mine.addHandler(handler)
                try:
                    mine.warning("x")
                finally:
                    mine.removeHandler(handler)

            return block

        by_ours = err("WARNING twice_of_the_test: x")
        assert in_job(log(logging.StreamHandler())) == err("x")
        assert in_job(log(logging.StreamHandler(sys.stdout))) == out("x")
        wrapped = io.TextIOWrapper(sys.stdout.buffer, line_buffering=True)
        assert in_job(log(logging.StreamHandler(wrapped))) == out("x")
        # What doesn't write into the job takes nothing from it.
        assert in_job(log(logging.StreamHandler(io.StringIO()))) == by_ours
        assert in_job(log(logging.NullHandler())) == by_ours
        quiet = logging.StreamHandler()
        quiet.setLevel(logging.CRITICAL)
        assert in_job(log(quiet)) == by_ours
        picky = logging.StreamHandler()
        picky.addFilter(lambda record: False)
        assert in_job(log(picky)) == by_ours


def test_a_handler_of_the_root_s_is_not_told_twice_either() -> None:
    with captured_process():

        def block() -> None:
            logging.basicConfig(format="%(message)s", force=True)
            logging.getLogger("a").warning("x")

        assert in_job(block) == err("x")


# ---------------------------------------------------------------------- wrapped streams


def detach() -> None:
    sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding="utf-8")  # type: ignore[union-attr]
    print("hé")
    print("rest", end="")


def wrap_buffer() -> None:
    sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", errors="replace")
    print("hé")
    print("rest", end="")


def wrap_raw() -> None:
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(sys.stdout.buffer.raw), "utf-8")  # type: ignore[union-attr]
    print("hé")
    print("rest", end="")


def write_by_codec() -> None:
    writer = codecs.getwriter("utf-8")(sys.stdout.buffer)
    writer.write("hé\nrest")


def wrap_for_itself() -> None:
    print("hé", file=io.TextIOWrapper(sys.stdout.detach(), "utf-8", write_through=True))  # type: ignore[union-attr]
    sys.stdout.write("rest")


@pytest.mark.parametrize("block", [detach, wrap_buffer, wrap_raw, write_by_codec, wrap_for_itself])
def test_wrapped_streams_write_into_the_job_and_are_nobody_else_s(block: Callable[[], object]) -> None:
    with captured_process() as captured:
        ours = sys.stdout
        assert in_job(block) == out("hé", "rest")
        assert sys.stdout is ours
        assert in_job(lambda: print("next")) == out("next")
        print("outside")
        assert captured.texts() == ("outside\n", "")


def test_a_stream_that_is_wrapped_outside_a_job_is_put_back_too() -> None:
    """As a module does that is imported for a block."""
    with captured_process() as captured:
        ours = sys.stderr
        sys.stderr = io.TextIOWrapper(sys.stderr.buffer, encoding="utf-8")
        print("at import", file=sys.stderr)
        capture.unwrap_streams()
        assert sys.stderr is ours
        assert captured.texts() == ("", "at import\n")


# ---------------------------------------------------------------------- installing


def things() -> list[object]:
    root = logging.getLogger()
    pool = concurrent.futures.ThreadPoolExecutor
    return [sys.stdout, sys.stderr, threading.Thread.start, pool.submit, list(root.handlers), root.level]


def test_uninstall_puts_everything_back() -> None:
    with process() as real:
        before = things()
        install()
        install(echo=True)
        between = things()
        uninstall()
        assert things() == between
        uninstall()
        uninstall()
        assert things() == before
        assert in_job(lambda: print_and_log(logging.getLogger())) == []
        assert real.texts() == ("a\n", "b\n")


def test_uninstall_leaves_what_others_put_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    with process() as real:
        install()
        mine = Stream()
        sys.stdout = mine
        logging.getLogger().setLevel(logging.DEBUG)
        uninstall()
        assert sys.stdout is mine
        assert sys.stderr is real.stderr
        assert logging.getLogger().level == logging.DEBUG
