"""The site builds without a warning, has every page, and its own search leads to what new users ask for."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from ..browser import open_browser, requests_of
from .pages import PAGES, ROOT
from .site import build, navigation, served

pytestmark = [
    pytest.mark.timeout(300),  # a build, and a browser
    pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs pip install '.[docs]'"),
]

DOCS = ROOT / "docs"

QUESTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "see a picture": (
        (
            "how do I see a picture",
            "show a plot",
            "matplotlib figure",
            "look at an image",
            "display a chart",
            "view my graph in the browser",
            "where is my png",
            "plt.show nothing happens",
            "see the output image of a block",
            "visualize results",
            "render a plot",
        ),
        ("how-do-i/#see-a-picture-plot-or-image", "previews/", "seeing-runs/"),
    ),
    "use a pool": (
        (
            "how do I use a pool",
            "ProcessPoolExecutor",
            "multiprocessing pool",
            "use all cores",
            "run cpu heavy code in parallel",
            "concurrent.futures",
            "joblib parallel",
            "use multiple processes inside a block",
            "process pool pickle error",
            "multi-core",
            "thread pool",
        ),
        ("how-do-i/#use-a-pool-of-processes", "what-blocks-may-do/", "writing-blocks/"),
    ),
    "cache a block": (
        (
            "how do I cache a block",
            "cache results",
            "don't run again what has not changed",
            "skip unchanged steps",
            "memoize a function",
            "avoid recomputing",
            "reuse a previous result",
            "cached result is stale",
            "caching",
            "don't rerun finished nodes",
            "cache invalidation",
        ),
        ("how-do-i/#cache-a-block-not-run-again-what-has-not-changed", "cache/"),
    ),
    "read a CSV by handle": (
        (
            "how do I read a CSV by handle",
            "read csv file",
            "csv input path",
            "load a csv",
            "pass a file path to a block",
            "pandas read_csv input",
            "import data from a csv file",
            "open a spreadsheet file",
            "csv input file",
            "large file as input",
        ),
        ("how-do-i/#read-a-csv-file-by-a-handle", "large-values/#read-a-csv-file-by-a-handle"),
    ),
    "run two workers": (
        (
            "how do I run two workers",
            "several workers",
            "more executors",
            "uvicorn workers",
            "scale out",
            "add another machine",
            "parallel workers",
            "distributed execution on two machines",
            "start a second executor",
            "run on multiple machines",
            "scaling",
            "number of workers",
        ),
        ("how-do-i/#run-two-workers-or-more-executors", "embedding/", "services/", "operating/"),
    ),
    "deploy": (
        (
            "how do I deploy",
            "systemd unit",
            "container",
            "docker",
            "upgrade",
            "production setup",
            "install on a server",
            "run as a service",
            "docker compose",
            "kubernetes",
            "deployment",
            "docker image",
            "run in production",
        ),
        ("how-do-i/#deploy", "operating/"),
    ),
    "debug": (
        (
            "how do I debug",
            "breakpoint",
            "pdb debugger",
            "debug a block",
            "step through my code",
            "set a breakpoint",
            "attach a debugger",
            "find out why my block fails",
            "print variables",
            "debugging in vscode",
            "inspect variables",
            "block crashes",
        ),
        ("how-do-i/#debug", "debugging/"),
    ),
    "pass a DataFrame": (
        (
            "how do I pass a DataFrame",
            "pandas dataframe between blocks",
            "send a frame to the next block",
            "pandas between nodes",
            "hand over a table to another block",
            "polars",
            "share a data frame without copying",
            "dataframe is not serializable",
            "dataframe output",
            "pass a numpy array",
        ),
        ("how-do-i/#pass-a-dataframe-to-the-next-block", "large-values/"),
    ),
    "test a block": (
        (
            "how do I test a block",
            "pytest",
            "unit test",
            "block_run fixture",
            "write tests for my block",
            "mock the context",
            "how to test without a server",
            "run a single block",
            "testing fixture",
            "unit testing",
            "pytest fixture for blocks",
        ),
        ("how-do-i/#test-a-block", "testing/"),
    ),
    "retry": (
        (
            "how do I retry",
            "retries",
            "run again after a failure",
            "backoff",
            "retry a failed job",
            "resume a failed run",
            "automatic retries",
            "try again on error",
            "restart from the failed step",
            "retry policy",
            "rerun failed",
            "retry with delay",
        ),
        ("how-do-i/#retry-run-again-after-a-failure", "retries/"),
    ),
    "cancel": (
        (
            "how do I cancel",
            "stop a run",
            "abort a session",
            "CancelledError",
            "kill a job",
            "interrupt a running flow",
            "ctrl-c",
            "terminate a session",
            "stop everything",
            "cancel a run",
            "stop a job",
        ),
        ("how-do-i/#cancel-stop-a-run-abort-a-session-or-a-job", "retries/"),
    ),
    "run behind nginx": (
        (
            "how do I run behind nginx",
            "reverse proxy",
            "websocket upgrade headers",
            "nginx",
            "proxy_pass",
            "behind a load balancer",
            "502 bad gateway",
            "https proxy",
            "connection closed after 60 seconds",
            "nginx config",
            "tls termination",
            "websocket proxy",
        ),
        ("how-do-i/#run-behind-nginx", "nginx/"),
    ),
}
"""What new users asked, in several wordings, and where the answer is: a page, or a section of one."""

SHOWN = 3
"""Hits that a reader looks at."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    build(place)
    return place


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with served(site) as url:
        yield url


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def test_every_page_stands_in_the_navigation_once() -> None:
    named = navigation()
    assert sorted(named) == sorted(
        page.path.relative_to(DOCS).as_posix() for page in PAGES if DOCS in page.path.parents
    )


class Built(HTMLParser):
    """A built page: its ids, and the addresses of its links."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.ids.update(value for name in ("id", "name") if (value := said.get(name)))
        if tag in ("a", "img", "link", "script") and (link := said.get("href") or said.get("src")):
            self.links.append(link)


def test_no_link_of_the_built_site_is_dead_and_none_leaves_it(site: Path) -> None:
    built = {path: Built(path) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(built) > 30
    dead, outside = [], set()
    for path, page in built.items():
        for link in page.links:
            if link.startswith(("https:", "http:")):
                outside.add(link)
                continue
            if link.startswith(("data:", "javascript:", "mailto:")):
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / name.partition("?")[0]).resolve() if name else path
            target = target / "index.html" if target.is_dir() else target
            there = built.get(target)
            if not target.exists() or (anchor and there is not None and anchor not in there.ids):
                dead.append(f"{path.relative_to(site)}: {link}")
    assert dead == []
    assert [each for each in sorted(outside) if "squidfunk.github.io" not in each] == []


def test_what_the_reference_documents_is_there(site: Path) -> None:
    ids = {each for path in (site / "api").rglob("index.html") for each in Built(path).ids}
    import asyncblock

    errors = [
        name
        for name in asyncblock.__all__
        if isinstance(getattr(asyncblock, name), type) and issubclass(getattr(asyncblock, name), Exception)
    ]
    homes = {name: f"asyncblock.errors.{name}" for name in errors} | {"block": "asyncblock.block.block"}
    assert [name for name in asyncblock.__all__ if homes.get(name, f"asyncblock.{name}") not in ids] == []
    for name in ("asyncblock.Context.output", "asyncblock.Mainframe.start", "asyncblock.events.SessionFinished"):
        assert name in ids


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_search_leads_to_the_answer_in_three_hits(question: str, address: str, browser: Any) -> None:
    wordings, answers = QUESTIONS[question]
    missed = {}
    for wording in wordings:
        hits = search(browser, address, wording)[:SHOWN]
        if not any(leads_to(hit, answer) for hit in hits for answer in answers):
            missed[wording] = hits
    assert missed == {}


def leads_to(hit: str, answer: str) -> bool:
    """Tell whether a hit is the answer's page, and of a section not another one."""
    (page, _, section), (wanted_page, _, wanted) = hit.partition("#"), answer.partition("#")
    return page.partition("?")[0] == wanted_page and (not wanted or section in ("", wanted))


def search(browser: Any, address: str, words: str) -> list[str]:
    """Ask the site's own search, in a browser, and return where its hits lead: one for each page, and its sections."""
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(f"{address}/?q={quote(words)}")
    found = WebDriverWait(browser, 60).until(
        lambda _: browser.execute_script(
            """
            const meta = document.querySelector(".md-search-result__meta");
            if (!meta || !/matching|document/.test(meta.textContent)) return null;
            const items = [...document.querySelectorAll(".md-search-result__item")];
            return items.map((item) => item.querySelector("a").getAttribute("href"));
            """
        )
    )
    return [str(each).removeprefix(address).lstrip("/") for each in found]


def test_pages_ask_nobody_else_for_anything(address: str, browser: Any) -> None:
    requests_of(browser)
    browser.get(f"{address}/first-flow/")
    assert [url for url in requests_of(browser) if not url.startswith(address)] == []
