"""Pages as data: their fenced blocks, what a comment says of each, their headings and their links."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

__all__ = ["PAGES", "ROOT", "Fence", "Page"]

ROOT = Path(__file__).resolve().parents[2]

_REMARK = re.compile(r"\A<!--\s*(not run|run by|exits|written|needs):\s*(.*?)\s*-->\s*\Z", re.DOTALL)
_COMMAND = re.compile(r"\A<!--\s*(command):\s*(\w+)\s*-->\s*\Z")
_HIDDEN = re.compile(r"\A<!--\s*(sh|python|yaml)\n(.*?)-->\s*\Z", re.DOTALL)
_FRONT = re.compile(r"\A---\n.*?^---\n", re.DOTALL | re.MULTILINE)
_NAMED = re.compile(r"\A(?:#|//) ([\w./-]+\.\w+|[\w./-]*Containerfile)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Fence:
    """A fenced block, or a hidden one: a comment that begins with the name of a language and goes on with code."""

    line: int
    language: str
    text: str
    word: str = ""
    """What the comment in front of it says: ``not run``, ``run by``, ``exits``, ``written``, ``command``."""
    about: str = ""
    """What it says after that: the reason, the test, the exit code, the file."""
    hidden: bool = False

    @property
    def file(self) -> str | None:
        """The file that it is: named in its first line, or by ``<!-- written: NAME -->``."""
        if self.word == "written":
            return self.about
        found = _NAMED.match(self.text)
        return None if found is None else found[1]


class Page:
    """A page of Markdown."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # What the site's search is told of it stands above it.
        self.text = _FRONT.sub(lambda found: "\n" * found[0].count("\n"), path.read_text("utf-8"))

    @property
    def name(self) -> str:
        """Its place in the project."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def tokens(self) -> list[Token]:
        """What a CommonMark parser makes of it."""
        return MarkdownIt("commonmark").enable("table").parse(self.text)

    @cached_property
    def fences(self) -> list[Fence]:
        """Its blocks, in order."""
        found = []
        before: Token | None = None
        for token in self.tokens:
            line = (token.map or [0])[0] + 1
            if token.type == "html_block" and (hidden := _HIDDEN.match(token.content)):
                found.append(Fence(line, hidden[1], hidden[2], hidden=True))
            elif token.type == "fence":
                remark = None
                if before is not None and before.type == "html_block":
                    remark = _REMARK.match(before.content) or _COMMAND.match(before.content)
                word, about = (remark[1], remark[2]) if remark else ("", "")
                found.append(Fence(line, token.info.strip(), token.content, word, about))
            before = token
        return found

    @cached_property
    def needs(self) -> list[str]:
        """The programs without which its blocks can't run: ``<!-- needs: nginx -->``."""
        said = [_REMARK.match(token.content) for token in self.tokens if token.type == "html_block"]
        return [name for each in said if each and each[1] == "needs" for name in each[2].split()]

    @cached_property
    def anchors(self) -> set[str]:
        """What a link to a place in it may name: its headings, as the site writes them."""
        found: set[str] = set()
        for heading, inline in zip(self.tokens, self.tokens[1:], strict=False):
            if heading.type == "heading_open":
                anchor, number = slug(plain(inline)), 1
                while anchor in found:
                    anchor, number = f"{slug(plain(inline))}_{number}", number + 1
                found.add(anchor)
        return found

    @cached_property
    def links(self) -> list[str]:
        """Where its links and pictures lead."""
        children = [child for token in self.tokens for child in token.children or ()]
        found = [child.attrGet("href") or child.attrGet("src") for child in children]
        return [str(each) for each in found if each]


def plain(inline: Token) -> str:
    """Return the text of a heading."""
    return "".join(child.content for child in inline.children or () if child.type in ("text", "code_inline"))


def slug(text: str) -> str:
    """Write a heading as an anchor, as Python-Markdown does."""
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower())


PAGES = [Page(path) for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))]
