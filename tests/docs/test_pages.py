"""Every block of every page runs, prints what the page says that it prints, or says why it isn't run."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

from .pages import PAGES, ROOT, Page
from .running import lines_missing, run_page

RUNNABLE = ("python", "sh", "yaml")
CI = (ROOT / ".ci" / "run").read_text("utf-8")


def runs(page: Page) -> bool:
    """Tell whether a page has a block that is run here."""
    skipped = ("not run", "run by", "command")
    return any(fence.word not in skipped and (fence.language in RUNNABLE or fence.file) for fence in page.fences)


def ids(page: Page) -> str:
    return page.name


@pytest.mark.timeout(300)  # whole systems, one command after the other
@pytest.mark.parametrize("page", [page for page in PAGES if runs(page)], ids=ids)
async def test_the_blocks_of_a_page_run_and_print_what_it_says(page: Page, tmp_path: Path) -> None:
    for name in page.needs:
        if (
            shutil.which(name) is None
            and not Path("/usr/sbin", name).exists()
            and importlib.util.find_spec(name) is None
        ):
            pytest.skip(f"needs {name}")
    ran = await run_page(page, tmp_path)
    line, printed = ran.last
    assert ran.code == 0, f"{page.name}, the block of line {line}: exit code {ran.code}\n{printed}"
    before = 0
    for fence in page.fences:
        if fence.language == "text" and fence.file is None and fence.word == "":
            missing = lines_missing(fence, ran.by_block.get(before, ""))
            assert missing == [], f"{page.name}:{fence.line}: printed was\n{ran.by_block.get(before)}"
        elif fence.line in ran.by_block:
            before = fence.line


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_what_is_not_run_says_why_and_what_another_test_runs_names_it(page: Page) -> None:
    for fence in page.fences:
        where = f"{page.name}:{fence.line}"
        match fence.word:
            case "not run":
                assert len(fence.about.split()) >= 3, f"{where}: say why"
            case "run by":
                file, _, test = fence.about.partition("::")
                assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE), where
            case "command":
                assert f"command_of {fence.about}" in CI or f"command: {fence.about} " in CI, where
            case "exits":
                assert int(fence.about) > 0, where


def test_pages_have_blocks_and_most_of_them_run() -> None:
    fences = [fence for page in PAGES for fence in page.fences if fence.language in RUNNABLE and not fence.hidden]
    kept_back = [fence for fence in fences if fence.word == "not run"]
    assert len(fences) > 100
    assert len(kept_back) < len(fences) / 5
