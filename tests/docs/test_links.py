"""No link of a page leads nowhere: files are there, and so are the headings that anchors name."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from .pages import PAGES, ROOT, Page

OTHERS = [Page(ROOT / name) for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
DOCS = ROOT / "docs"


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Page) -> None:
    dead = []
    for link in page.links:
        if link.startswith(("https://", "http://", "data:")):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = page.path if not name else (page.path.parent / name).resolve()
        if not target.exists() or (anchor and anchor not in Page(target).anchors):
            dead.append(link)
        elif page.path.is_relative_to(DOCS) and not target.is_relative_to(DOCS):
            dead.append(f"{link} (the site has nothing outside of docs/)")
    assert dead == []


def test_each_page_ends_with_what_to_read_next() -> None:
    made = {"wire.md", "yaml.md"}
    ends = {page.path.name: page.text.rstrip().rpartition("\n## ")[2] for page in PAGES if page.path.parent == DOCS}
    assert [name for name, end in ends.items() if name not in made and not end.startswith("Read next\n")] == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# A b: c\n\n[a](#a-b-c) [b](other.md)\n")
    page = Page(tmp_path / "page.md")
    assert page.links == ["#a-b-c", "other.md"]
    assert page.anchors == {"a-b-c"}
