"""A tab of the page in a real Chromium, without a window, and what it and the page's process take."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from .plant import Plant
from .rounds import NotMeasured

__all__ = ["Tab", "largest_renderer_mb", "look_for", "open_page", "open_tab"]

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE = 120.0


def look_for() -> tuple[str, str]:
    """Return the browser and its driver. Raises ``NotMeasured`` where one isn't there."""
    binary = next((found for name in _NAMES if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        raise NotMeasured("it needs chromium and chromedriver: apt-get install chromium chromium-driver")
    try:
        import selenium  # noqa: F401
    except ModuleNotFoundError:
        raise NotMeasured("it needs selenium: pip install selenium") from None
    return binary, driver


class Tab:
    """The browser's one tab. Its calls wait on a thread, so that the measuring loop goes on."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser

    async def on_each_page(self, script: str) -> None:
        """Run a script before each document's own."""
        order = "Page.addScriptToEvaluateOnNewDocument"
        await asyncio.to_thread(self._browser.execute_cdp_cmd, order, {"source": script})

    async def go(self, address: str) -> None:
        """Open an address."""
        await asyncio.to_thread(self._browser.get, address)

    async def ask(self, script: str, *given: Any) -> Any:
        """Return what a script returns, or the value of its promise."""
        return await asyncio.to_thread(self._browser.execute_script, script, *given)

    async def until(self, condition: str, *given: Any) -> Any:
        """Wait until an expression is true in the page, and return it."""
        return await asyncio.to_thread(self._until, condition, *given)

    def _until(self, condition: str, *given: Any) -> Any:
        from selenium.webdriver.support.wait import WebDriverWait

        wait = WebDriverWait(self._browser, _PATIENCE, 0.02)
        return wait.until(lambda it: it.execute_script(f"return {condition}", *given))


@contextmanager
def _browser() -> Iterator[Any]:
    from selenium import webdriver

    binary, driver = look_for()
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}"):
            options.add_argument(argument)
        if os.geteuid() == 0:
            # Chromium refuses to be root in its own sandbox, and containers are root.
            options.add_argument("--no-sandbox")
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        try:
            browser.set_window_size(1440, 900)
            yield browser
        finally:
            browser.quit()


@asynccontextmanager
async def open_tab() -> AsyncIterator[Tab]:
    """Start a browser for the duration of the block."""
    held = _browser()
    browser = await asyncio.to_thread(held.__enter__)
    try:
        yield Tab(browser)
    finally:
        await asyncio.to_thread(held.__exit__, None, None, None)


@asynccontextmanager
async def open_page(plant: Plant, session_id: str) -> AsyncIterator[tuple[str, int]]:
    """Serve the page of a session in a process of its own; yield its address and that process's id."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "asyncblock", "page", session_id, "--url", plant.url, "--token", plant.token),
        "--no-browser",
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        if not line.startswith("page: "):
            raise RuntimeError(f"the page didn't begin: {line}")
        yield line.split()[1], process.pid
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def largest_renderer_mb() -> float:
    """Return what the largest tab of this process's browsers takes, without the libraries that all share."""
    ours = _descendants(os.getpid())
    found = [0.0]
    for pid in ours:
        try:
            if b"--type=renderer" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(_own_mb(pid))
        except OSError:
            continue  # it has just ended
    return max(found)


def _own_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:"))) / 1024


def _descendants(root: int) -> set[int]:
    parents: dict[int, int] = {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}
