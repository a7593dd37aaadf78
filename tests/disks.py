"""File systems of their own for tests: small ones that fill up or run out of inodes, and devices that fail."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["BlockDisk", "block_disk", "fill", "remount", "small_disk"]


@contextmanager
def small_disk(path: Path, size: str = "1m", *, inodes: int = 0) -> Iterator[Path]:
    """Mount a file system in memory of this size, and with so many inodes, for the duration of the block."""
    path.mkdir(parents=True, exist_ok=True)
    options = f"size={size}" + (f",nr_inodes={inodes}" if inodes else "")
    _mount("-t", "tmpfs", "-o", options, "tmpfs", path)
    try:
        yield path
    finally:
        # Lazily: a process that a test has left behind may have a file open.
        subprocess.run(["umount", "-l", path], check=True)


def remount(path: Path, how: str) -> None:
    """Let a mounted file system be read-only (``ro``), or no longer (``rw``)."""
    _mount("-o", f"remount,{how}", path)


class BlockDisk:
    """A file system on a block device of its own, which can fail as real ones do."""

    def __init__(self, path: Path, image: Path) -> None:
        self.path = path
        self._image = image

    def mount(self) -> None:
        """Mount it, after what has become of it."""
        _mount("-o", "loop,errors=remount-ro", self._image, self.path)

    def unmount(self) -> None:
        """Unmount it; nobody may use it."""
        subprocess.run(["umount", self.path], check=True)

    def fail(self) -> None:
        """Let every operation end with EIO from here on, as when a device goes away, until it is mounted anew."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", 0))
        finally:
            os.close(fd)

    def make_read_only(self) -> None:
        """Let the kernel find an error on it and make it read-only, under whoever writes to it."""
        device = os.stat(self.path).st_dev
        name = os.path.basename(os.readlink(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"))
        Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("1")


_SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN."""


@contextmanager
def block_disk(path: Path, megabytes: int = 64) -> Iterator[BlockDisk]:
    """Make an ext4 file system in a file and mount it for the duration of the block."""
    path.mkdir(parents=True)
    image = path.with_suffix(".img")
    with open(image, "wb") as file:
        file.truncate(megabytes << 20)
    try:
        subprocess.run(["mkfs.ext4", "-q", image], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"ext4 file systems can't be made here: {error}")
    disk = BlockDisk(path, image)
    disk.mount()
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", path], check=False, capture_output=True)


def _mount(*arguments: str | Path) -> None:
    try:
        subprocess.run(["mount", *arguments], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"file systems can't be mounted here: {error}")


def fill(directory: Path, *, leave: int = 0) -> Path:
    """Fill a file system but for some bytes; return the file that does it."""
    path = directory / "filler"
    free = os.statvfs(directory)
    with open(path, "wb") as file:
        left = free.f_bavail * free.f_frsize - leave
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 16)))
    return path
