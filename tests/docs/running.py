"""A page's blocks, run in order as a reader would: one shell, one directory, real processes.

What a block is, its language and its first line say:

- a first line ``# NAME.SUFFIX`` makes it a file of that name, whatever its language; ``<!-- written: NAME -->`` in front
  does so where the language has no such comments;
- ``sh`` is given to one bash for the whole page, which ends at the first command that fails; a block with
  ``<!-- exits: 1 -->`` in front ends with that code;
- ``python`` runs by itself, with ``await`` at its top level;
- ``text`` is what the block before it has printed: its lines are there in that order, ``...`` is anything;
- a comment that begins with ``sh``, ``python`` or ``yaml`` and a line break is run and not shown; of Python the names that it
  makes are there in all Python blocks behind it;
- ``<!-- not run: WHY -->`` in front: it isn't run. ``<!-- run by: FILE::TEST -->``: another test runs it.

Ports that pages name are free ones of this machine here, so that pages may run beside each other.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

from ..processes import free_port
from .pages import ROOT, Fence, Page

__all__ = ["Ran", "lines_missing", "run_page"]

PORTS = ("4222", "7788", "7789", "8000", "8080", "8443")
SNIPPET = Path(__file__).with_name("snippet.py")
_MARK = "\x1eblock "
_SECONDS = 240.0


class Ran:
    """What came of a page's blocks."""

    def __init__(self, output: str, code: int, ports: dict[str, str]) -> None:
        self.code = code
        for named, free in ports.items():
            output = output.replace(free, named)
        self.by_block: dict[int, str] = {}
        """By the line of the block in its page: what was printed while it ran."""
        for part in output.split(_MARK)[1:]:
            number, _, rest = part.partition("\n")
            self.by_block[int(number)] = rest

    @property
    def last(self) -> tuple[int, str]:
        """The last block that began, and what it printed."""
        return next(reversed(self.by_block.items()), (0, ""))


async def run_page(page: Page, directory: Path) -> Ran:
    """Run a page's blocks; what it has started in the background is told to leave."""
    ports = {port: str(free_port()) for port in PORTS}
    script = directory / ".page.sh"
    script.write_text(_script(page, directory, ports), "utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"
    process = await asyncio.create_subprocess_exec(
        "bash",
        script,
        cwd=directory,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        env={
            **os.environ,
            "PATH": path,
            "XDG_STATE_HOME": str(directory / ".state"),
            "XDG_CONFIG_HOME": str(directory / ".config"),
            "ASYNCBLOCK_CACHE_DIR": str(directory / ".cache"),
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
        },
    )
    try:
        async with asyncio.timeout(_SECONDS):
            output, _ = await process.communicate()
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    assert process.returncode is not None
    return Ran(output.decode(errors="replace"), process.returncode, ports)


def _script(page: Page, directory: Path, ports: dict[str, str]) -> str:
    parts = [
        "set -eo pipefail",
        "leave() { running=$(jobs -p); kill $running 2> /dev/null || true; wait $running 2> /dev/null || true; }",
        "trap leave EXIT",
    ]
    setups: list[str] = []
    flows: list[str] = []
    for number, fence in enumerate(page.fences):
        if fence.word in ("not run", "run by", "command"):
            continue
        text = _with_ports(fence.text, ports)
        file = f".blocks/{number}.{'py' if fence.language == 'python' else 'txt'}" if fence.file is None else fence.file
        if fence.file is None and fence.language not in ("sh", "python", "yaml"):
            continue
        parts.append(f"printf '%s\\n' $'\\x1eblock {fence.line}'")
        if fence.file is not None or fence.language != "sh":
            parts.append(_written(text, file, directory, number))
        if fence.file is not None:
            if file.endswith(".py"):
                parts.append(f"python -m py_compile {file}")
            if file.endswith("flow.oo.yaml"):
                flows.append(file)
        elif fence.language == "python":
            if fence.hidden:
                setups.append(file)
            parts.append(f"python {SNIPPET} {' '.join([*setups, *([] if fence.hidden else [file])])}")
        elif fence.language == "yaml":
            parts.append(f"python -c 'import sys, yaml; list(yaml.safe_load_all(open(sys.argv[1])))' {file}")
        elif fence.word == "exits":
            parts.append(
                f"set +e; (set -e\n{text}\n); ended=$?; set -e; [ $ended = {fence.about} ] || {{ echo exit code $ended; exit 99; }}"
            )
        else:
            parts.append(text)
    parts += [f"printf '%s\\n' $'\\x1eblock 0'\nasyncblock check {each}" for each in flows]
    return "\n".join(parts) + "\n"


def _written(text: str, file: str, directory: Path, number: int) -> str:
    kept = directory / ".texts" / str(number)
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(text, "utf-8")
    return f"mkdir -p {Path(file).parent}; cp {kept} {file}"


def _with_ports(text: str, ports: dict[str, str]) -> str:
    text = re.sub(r"\basyncblock serve\b(?!.*--port)", f"asyncblock serve --port {ports['7788']}", text)
    for port, free in ports.items():
        text = re.sub(rf"\b{port}\b", free, text)
    return text


def lines_missing(fence: Fence, printed: str) -> list[str]:
    """Return the lines of a ``text`` block that weren't printed, or not in that order."""
    lines = iter(printed.splitlines())
    missing = []
    for line in fence.text.splitlines():
        wanted = line.strip()
        if wanted in ("", "..."):
            continue
        pattern = re.compile(".*".join(map(re.escape, wanted.split("..."))))
        if not any(pattern.fullmatch(each.strip()) for each in lines):
            missing.append(line)
            lines = iter(())
    return missing
