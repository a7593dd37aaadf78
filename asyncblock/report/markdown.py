"""Markdown of blocks as markup: HTML in it is text, and nothing in it is loaded from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from ..page.markup import Markup, el, seen, text

__all__ = ["markdown"]

_MOST = 1 << 20
"""Characters that are laid out; a longer text is shown as it is."""


def markdown(source: str) -> Markup:
    """Return markup of markdown; as plain text where markdown-it isn't installed."""
    if len(source) > _MOST:
        return el("pre", source)
    try:
        made = _parser().render(seen(source))
    except ModuleNotFoundError:
        return el("pre", source)
    # Its own output, made without HTML of the source's.
    return el("div", Markup(made), class_="markdown")


@cache
def _parser() -> Any:
    from markdown_it import MarkdownIt

    # Nested brackets and quotes cost time; a text has a few levels of them.
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable(["table", "strikethrough"])

    def image(tokens: Sequence[Any], index: int, options: Any, env: Any) -> str:
        token = tokens[index]
        source = str(token.attrs.get("src", ""))
        if source.startswith(("data:image/png;base64,", "data:image/jpeg;base64,", "data:image/gif;base64,")):
            return el("img", src=source, alt=token.content)
        return text(f"[picture: {token.content or source}]")

    def link_open(tokens: Sequence[Any], index: int, options: Any, env: Any) -> str:
        href = str(tokens[index].attrs.get("href", ""))
        if not href.startswith(("https://", "http://", "mailto:")):
            return "<a>"
        opened = el("a", href=href, rel="noopener noreferrer nofollow", target="_blank")
        return opened.removesuffix("</a>")

    rules: dict[str, Any] = vars(parser.renderer)["rules"]
    rules.update(image=image, link_open=link_open)
    return parser
