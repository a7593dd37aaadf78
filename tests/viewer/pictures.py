"""Pictures of the page: ``python -m tests.viewer.pictures DIR`` runs a flow that shows things, and looks at it."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..browser import open_browser
from ..flows import node, write_flow
from ..processes import free_port, start
from .served import until

WIDE = (1440, 900)
PHONE = (390, 844)

SOURCES = {
    "fetch": """
import asyncio, random
async def main(inputs, ctx):
    for number in range(40):
        print(f"fetched page {number}")
        await ctx.report_progress(number * 2.5)
        await asyncio.sleep(0.02)
    await ctx.preview({"type": "table", "title": "prices", "data": {
        "columns": ["symbol", "price", "change", "volume"],
        "rows": [[s, round(40 + i * 7.31, 2), round((i % 5 - 2) * 1.37, 2), 1000 * i] for i, s in enumerate("ABCDEFGHIJKLMNOP")],
        "row_count": 5120}}, id="prices")
    return {"out": [1, 2, 3]}
""",
    "clean": """
import asyncio
async def main(inputs, ctx):
    await asyncio.sleep(0.3)
    await ctx.preview({"type": "markdown", "title": "what was done", "data": "**391** of 524 months are kept.\\n\\n| kept | dropped |\\n|---|---|\\n| 391 | 133 |"})
    return {"out": 391}
""",
    "chart": """
import asyncio
async def main(inputs, ctx):
    spec = {"data": [{"type": "bar", "x": list("abcdef"), "y": [3, 5, 2, 8, 6, 7], "marker": {"color": "#2a74d8"}}],
            "layout": {"title": {"text": "by month"}, "margin": {"t": 50, "l": 40, "r": 10, "b": 30}}}
    await ctx.preview({"type": "html", "title": "by month", "data": "<p>", "mime": {"application/vnd.plotly.v1+json": spec}, "needs": ["network"]})
    await asyncio.sleep(0.6)
    return {"out": 1}
""",
    "fit": """
import asyncio, matplotlib.pyplot as plt
async def main(inputs, ctx):
    for version in range(3):
        figure, axes = plt.subplots(figsize=(6, 3.2))
        axes.plot([n ** (1 + version / 4) for n in range(30)])
        axes.set_title(f"fit {version}")
        await ctx.preview(figure, id="fit")
        plt.close(figure)
        await asyncio.sleep(0.2)
    raise ValueError("the fit doesn't converge: residuals grow after 30 steps")
""",
    "publish": """
async def main(inputs, ctx):
    return {"out": "published"}
""",
}


def flow(directory: Path) -> Path:
    """Write the flow that is looked at."""
    taken = {"handle": "in"}

    def of(name: str, *sources: str, **more: Any) -> dict[str, Any]:
        froms = [{"handle": "in", "from_node": [{"node_id": each, "output_handle": "out"} for each in sources]}]
        return node(
            name,
            SOURCES[name],
            directory,
            inputs=[taken] if sources else (),
            inputs_from=froms if sources else (),
            **more,
        )

    nodes = [of("fetch"), of("clean", "fetch"), of("chart", "clean"), of("fit", "clean"), of("publish", "chart", "fit")]
    return write_flow(directory, nodes, title="Monthly prices")


async def take(place: Path) -> None:
    """Take the pictures."""
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        state = Path(scratch)
        path = flow(state / "flow")
        for name in ("stocks", "stocks"):
            async with start("run", name, state=state) as one:
                await one.wait()
        async with start("run", path, state=state) as run:
            await run.wait()
            session_id = run.out[0].split()[1].rstrip(":")
        async with start("page", "--no-browser", state=state) as page:
            address = (await page.until_line("page: ")).split()[1]
            await asyncio.to_thread(look, place, address, session_id, state / "profile")
        await executors(place, state, path)


async def executors(place: Path, state: Path, path: Path) -> None:
    """Take the picture of a mainframe's executors, one of which works."""
    # Its first node goes on for as long as the picture takes.
    slow = path.with_name("fetch.py")
    slow.write_text(slow.read_text().replace("range(40)", "range(1_000_000)"))
    package = ("executor", "--package", path.parent, "--offers", "gpu=2", "--label", "ssd")
    async with start("serve", "--port", str(free_port()), state=state) as server:
        await server.until_line("mainframe at", err=True)
        async with start(*package, state=state) as executor, start("submit", path, state=state) as submit:
            await executor.until_line("executor for", err=True)
            await submit.until_line("fetched page 3")
            async with start("page", "--no-browser", state=state) as page:
                address = (await page.until_line("page: ")).split()[1]
                await asyncio.to_thread(look_at_executors, place, address, state / "profile-2")


def look_at_executors(place: Path, address: str, profile: Path) -> None:
    """Go to the executors with a browser."""
    with open_browser(profile) as browser:
        metrics = {"width": WIDE[0], "height": WIDE[1], "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(address)
        until(browser, "document.querySelector('header.top nav')")
        browser.execute_script("location.hash = '#/executors'")
        until(browser, "document.querySelector('.executors tbody tr')")
        browser.save_screenshot(str(place / "page-executors.png"))


def look(place: Path, address: str, session_id: str, profile: Path) -> None:
    """Go through the page with a browser."""
    with open_browser(profile) as browser:

        def shot(name: str, where: str, wait: str, size: tuple[int, int] = WIDE, dark: bool = False) -> None:
            metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size is PHONE}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            value = "dark" if dark else "light"
            browser.execute_cdp_cmd(
                "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": value}]}
            )
            browser.execute_script("location.hash = arguments[0]", where)
            until(browser, wait)
            browser.execute_async_script("setTimeout(arguments[0], 900)")
            browser.save_screenshot(str(place / f"{name}.png"))
            for entry in browser.get_log("browser"):
                print(name, entry["level"], entry["message"])

        browser.get(address)
        until(browser, "document.querySelector('table.sessions tbody tr')")
        of = f"#/s/{session_id}"
        graph = "document.querySelectorAll('g[data-node]').length >= 5"
        shot("page-sessions", "#/", "document.querySelectorAll('table.sessions tbody tr').length >= 2")
        shot("page-graph", f"{of}/graph", graph)
        shot("page-node", f"{of}/graph?node=fit&tab=previews", "!!document.querySelector('.panel .card img')")
        shot(
            "page-errors", f"{of}/graph?node=fit&tab=errors", "!!document.querySelector('.panel pre.trace')", dark=True
        )
        shot("page-previews", f"{of}/previews", "!!document.querySelector('.cards iframe')")
        shot("page-timeline", f"{of}/timeline", "!!document.querySelector('.timeline .bar')")
        shot("page-log", f"{of}/log", "document.querySelectorAll('.line').length > 10", dark=True)
        shot("page-nodes", f"{of}/nodes", "document.querySelectorAll('table.nodes tbody tr').length >= 5")
        shot("page-phone", f"{of}/graph", graph, PHONE)
        shot("page-retry", f"{of}/graph?", "document.querySelector('.head button.retry').checkVisibility()")
        browser.find_element("css selector", ".head button.retry").click()
        shot("page-retry", f"{of}/graph", "!document.querySelector('dialog.retry .main').disabled")
        browser.execute_script("document.querySelector('dialog').close()")
        shot(
            "page-phone-node",
            f"{of}/graph?node=fetch&tab=log",
            "document.querySelectorAll('.panel .line').length > 5",
            PHONE,
            True,
        )
        shot("page-phone-list", "#/", "document.querySelectorAll('table.sessions tbody tr').length >= 2", PHONE)


if __name__ == "__main__":
    asyncio.run(take(Path(sys.argv[1])))
