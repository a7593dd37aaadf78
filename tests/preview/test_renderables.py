"""What rich draws and doesn't offer to Jupyter: shown as it draws it, never as where it is in memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from rich.columns import Columns
from rich.console import Group
from rich.json import JSON
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table

from .showing import show


@dataclass
class Boxed:
    """An author's own class that says how rich draws it."""

    words: str

    def __rich__(self) -> Any:
        return Rule(self.words)


class Drawn:
    """The same by the other protocol."""

    def __rich_console__(self, console: Any, options: Any) -> Any:
        yield "drawn"
        yield JSON('{"b": 1}')


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (JSON('{"answer": 42}'), "&quot;answer&quot;"),
        (Group("one", JSON("[1]")), "one"),
        (Layout(Group("inside"), name="root"), "inside"),
        (Rule("a rule"), "a rule"),
        (Columns(["left", "right"]), "left"),
        (Boxed("in words"), "in words"),
        (Drawn(), "drawn"),
    ],
)
def test_what_rich_draws_is_shown_as_it_draws_it(value: Any, words: str) -> None:
    shown = show(value)
    assert shown["type"] == "html"
    assert words in shown["data"].replace('"', "&quot;")
    assert "object at 0x" not in shown["data"]


def test_json_of_rich_is_shown_in_a_process_that_has_never_drawn_by_it() -> None:
    code = """
import sys
from rich.json import JSON
from asyncblock.preview import Making
assert "rich.console" not in sys.modules
print(Making(JSON("[1]"), None, None).finish_blocking()["type"])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "html\n"


def test_renderables_in_a_container_are_shown_each() -> None:
    table = Table("a")
    table.add_row("1")
    assert [each["type"] for each in show({"json": JSON("[1]"), "table": table})["data"]] == ["html", "html"]


def test_what_a_live_display_draws_now_is_shown() -> None:
    assert "now" in show(Live(Panel("now")))["data"]
