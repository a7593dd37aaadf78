"""Pictures in a terminal: by the protocols of kitty, iTerm2 and sixel, for terminals that say that they know one."""

from __future__ import annotations

import io
import os
import re
import select
import sys
import termios
import time
import tty
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Literal

from rich.console import Console

__all__ = ["Pictures", "iterm", "kitty", "protocol_of", "sixel"]

Protocol = Literal["kitty", "iterm", "sixel"]

_PATIENCE = 0.5
"""Seconds that a terminal has to answer. All of them answer the second question, so few wait as long."""

_QUESTION = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c"
"""Whether it knows kitty's protocol, and what it is (DA1: the attribute 4 is sixel)."""

_CHUNK = 4096
"""Characters of a picture in one of kitty's sequences."""

_WIDTH = 800
"""Pixels of a picture in sixels."""

_COLOURS = 128


class Pictures:
    """Shows pictures in a terminal, if it can."""

    def __init__(self, protocol: Protocol | None) -> None:
        self.protocol = protocol

    @classmethod
    @contextmanager
    def of(cls, console: Console) -> Iterator[Pictures]:
        """Ask the terminal what it knows."""
        yield cls(_asked() if console.is_terminal and not console.is_dumb_terminal else None)

    def show(self, picture: bytes) -> bool:
        """Show a picture; tell whether that could be done."""
        try:
            made = _MAKERS[self.protocol](picture) if self.protocol is not None else None
        except Exception:
            # A broken picture, or one that the library refuses: its file can still be named.
            made = None
        if made is None:
            return False
        sys.stdout.flush()
        sys.stdout.buffer.write(made + b"\n")
        sys.stdout.buffer.flush()
        return True


def protocol_of(answer: bytes, environment: dict[str, str]) -> Protocol | None:
    """Return the protocol that a terminal's answer, or what it says in the environment, names."""
    if b"\x1b_Gi=31;OK" in answer:
        return "kitty"
    if environment.get("TERM_PROGRAM") in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm"
    found = re.search(rb"\x1b\[\?([\d;]+)c", answer)
    return "sixel" if found is not None and b"4" in found[1].split(b";")[1:] else None


def _asked() -> Protocol | None:
    return protocol_of(_answer(), dict(os.environ))


def _answer() -> bytes:
    """Ask the terminal and return what it answers within the patience."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        before = termios.tcgetattr(terminal)
        try:
            tty.setcbreak(terminal)
            os.write(terminal, _QUESTION)
            answer = b""
            until = time.monotonic() + _PATIENCE
            while not re.search(rb"\x1b\[\?[\d;]+c", answer):
                left = until - time.monotonic()
                if left <= 0 or not select.select([terminal], [], [], left)[0]:
                    break
                answer += os.read(terminal, 1024)
            return answer
        finally:
            termios.tcsetattr(terminal, termios.TCSANOW, before)
    except (OSError, termios.error):
        return b""
    finally:
        os.close(terminal)


def kitty(picture: bytes) -> bytes | None:
    """Return a picture in kitty's sequences, which take PNG."""
    data = b64encode(_as_png(picture))
    parts = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    made = []
    for index, part in enumerate(parts):
        first = b"a=T,f=100," if index == 0 else b""
        more = b"m=1" if index < len(parts) - 1 else b"m=0"
        made.append(b"\x1b_G" + first + more + b";" + part + b"\x1b\\")
    return b"".join(made)


def iterm(picture: bytes) -> bytes | None:
    """Return a picture in iTerm2's sequence."""
    return b"\x1b]1337;File=inline=1;size=%d;preserveAspectRatio=1:%b\x07" % (len(picture), b64encode(picture))


def sixel(picture: bytes) -> bytes | None:
    """Return a picture in sixels: six rows at once, a colour after another."""
    image = _opened(picture).convert("RGB")
    if image.width > _WIDTH:
        image = image.resize((_WIDTH, max(image.height * _WIDTH // image.width, 1)))
    image = image.quantize(_COLOURS)
    palette = image.getpalette()[: 3 * _COLOURS]
    width, height = image.size
    pixels = image.tobytes()
    out = [f'\x1bPq"1;1;{width};{height}'.encode()]
    for number in range(len(palette) // 3):
        red, green, blue = (value * 100 // 255 for value in palette[3 * number : 3 * number + 3])
        out.append(f"#{number};2;{red};{green};{blue}".encode())
    for top in range(0, height, 6):
        rows = [pixels[y * width : (y + 1) * width] for y in range(top, min(top + 6, height))]
        for number in sorted(set(b"".join(rows))):
            line = bytearray(width)
            for bit, row in enumerate(rows):
                for x, colour in enumerate(row):
                    if colour == number:
                        line[x] |= 1 << bit
            out.append(b"#%d" % number + _runs(line) + b"$")
        out.append(b"-")
    out.append(b"\x1b\\")
    return b"".join(out)


def _runs(line: bytearray) -> bytes:
    made = bytearray()
    for found in re.finditer(rb"(.)\1*", bytes(line), re.DOTALL):
        length, sign = len(found[0]), bytes([found[1][0] + 63])
        made += b"!%d%b" % (length, sign) if length > 3 else sign * length
    return bytes(made)


def _as_png(picture: bytes) -> bytes:
    if picture.startswith(b"\x89PNG"):
        return picture
    made = io.BytesIO()
    _opened(picture).convert("RGBA").save(made, "PNG")
    return made.getvalue()


def _opened(picture: bytes) -> Any:
    """Decode a picture with Pillow, which comes with matplotlib."""
    return import_module("PIL.Image").open(io.BytesIO(picture))


_MAKERS = {"kitty": kitty, "iterm": iterm, "sixel": sixel}
