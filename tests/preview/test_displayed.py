"""Objects that display themselves: shown as what they display, and nobody else sees a shell of IPython's."""

from __future__ import annotations

import contextvars
import threading
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.figure import Figure

from asyncblock.errors import PreviewFailed

from .showing import picture, show

# It has no types.
_display: Any = import_module("IPython.display")
HTML, display = _display.HTML, _display.display


class Displays:
    """Displays what a function of it says, and offers nothing else."""

    def __init__(self, *things: Any) -> None:
        self.things = things

    def _ipython_display_(self) -> None:
        for each in self.things:
            display(each)


def figure() -> Figure:
    made = Figure()
    made.subplots().plot([1, 2])
    return made


def test_an_object_is_shown_as_what_it_displays() -> None:
    shown = show(Displays(HTML("<b>x</b>")))
    assert (shown["type"], shown["data"]) == ("html", "<b>x</b>")
    assert picture(show(Displays(figure()))["data"]).width > 100
    assert show(Displays(pd.DataFrame({"a": [1]})))["data"]["rows"] == [[1]]
    assert show(Displays("words")) == {"type": "text", "data": "words"}
    assert show(Displays(Displays(HTML("inner"))))["data"] == "inner"


def test_several_things_that_an_object_displays_are_shown_each() -> None:
    shown = show(Displays(HTML("one"), figure(), "two"))
    assert shown["type"] == "group"
    assert [each["type"] for each in shown["data"]] == ["html", "image", "text"]


class Raw:
    """Displays representations by media type, and what it had displayed before no more."""

    def _ipython_display_(self) -> None:
        display("gone")
        _display.clear_output(wait=True)
        display({"text/html": "<i>raw</i>", "text/plain": "raw"}, raw=True)


class Published(Raw):
    """Publishes its representations itself."""

    def _ipython_display_(self) -> None:
        _display.publish_display_data({"text/markdown": "**m**"})


class Handled(Raw):
    """Displays something, and then something else in its place."""

    def _ipython_display_(self) -> None:
        handle = display("first", display_id=True)
        handle.update(HTML("then"))


def test_representations_are_shown_as_those_of_an_offer() -> None:
    assert show(Raw()) == {
        "type": "html",
        "data": "<i>raw</i>",
        "mime_type": "text/html",
        "mime": {"text/plain": "raw"},
    }
    assert show(Published())["data"] == "**m**"
    assert show(Handled())["data"] == "then"
    assert [each["type"] for each in show([Raw(), Published()])["data"]] == ["html", "markdown"]


def test_what_an_object_offers_besides_is_shown_without_asking_it_to_display() -> None:
    class Both(Displays):
        def _repr_html_(self) -> str:
            return "offered"

    assert show(Both("displayed"))["data"] == "offered"


def test_an_object_that_displays_nothing_is_shown_as_others_are() -> None:
    @dataclass
    class Silent:
        a: int

        def _ipython_display_(self) -> None:
            pass

    assert show(Silent(1)) == {"type": "json", "data": {"a": 1}}


def test_an_object_whose_display_raises_or_never_ends_fails_with_the_reason() -> None:
    class Raises:
        def _ipython_display_(self) -> None:
            raise ValueError("no kernel")

    class Endless:
        def _ipython_display_(self) -> None:
            display(Endless())

    with pytest.raises(PreviewFailed, match="its _ipython_display_ raised ValueError: no kernel"):
        show(Raises())
    with pytest.raises(PreviewFailed, match="leads to another value more than 8 times"):
        show(Endless())


def test_nobody_else_sees_a_shell_while_an_object_displays(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[bool] = []

    class Looks:
        def _ipython_display_(self) -> None:
            seen.append(InteractiveShell.initialized())
            thread = threading.Thread(target=lambda: seen.append(InteractiveShell.initialized()))
            thread.start()
            thread.join()
            seen.append(contextvars.Context().run(InteractiveShell.initialized))
            display("x")

    assert show(Looks())["data"] == "x"
    assert seen == [True, False, False]
    assert not InteractiveShell.initialized()
    display("printed")
    assert capsys.readouterr().out == "printed\n"


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: _display.Javascript("alert(1)"), "alert(1)"),
        (lambda: _display.TextDisplayObject("plain"), "plain"),
        (lambda: _display.DisplayObject("what it holds"), "what it holds"),
        (lambda: _display.Pretty("pretty"), "pretty"),
    ],
)
def test_a_display_object_that_offers_nothing_is_shown_as_what_it_holds(made: Any, words: str) -> None:
    assert show(made()) == {"type": "text", "data": words}
