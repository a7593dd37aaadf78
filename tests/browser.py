"""A real browser for tests, and a place that everything hostile tries to reach."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Trap", "open_browser", "requests_of", "trap"]


class Trap:
    """Listens on a port and notes what anybody says to it."""

    def __init__(self, listener: socket.socket, datagrams: socket.socket) -> None:
        self._listener = listener
        self._datagrams = datagrams
        self.port: int = listener.getsockname()[1]
        self.caught: list[bytes] = []
        self._threads = [threading.Thread(target=each) for each in (self._accept, self._receive)]
        for thread in self._threads:
            thread.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def said(self) -> list[bytes]:
        """What was said to it.

        Chromium opens connections to what it has blocked in a frame, and says nothing over them: a preconnect, of which
        no policy knows.
        """
        return [each for each in self.caught if each]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2)
                try:
                    said = connection.recv(1000)
                except OSError:
                    said = b""
                self.caught.append(said.split(b"\r\n")[0])
                try:
                    connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                except OSError:
                    pass

    def _receive(self) -> None:
        while True:
            data = self._datagrams.recv(2000)
            if data == b"end":
                return
            self.caught.append(b"UDP")

    def close(self) -> None:
        """Listen no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._datagrams.sendto(b"end", self._datagrams.getsockname())
        for thread in self._threads:
            thread.join()
        self._datagrams.close()


@contextmanager
def trap() -> Iterator[Trap]:
    """Set the trap for the duration of the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(listener.getsockname())
    made = Trap(listener, datagrams)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def open_browser(profile: Path) -> Iterator[Any]:
    """Start Chromium for the duration of the block. Skips the test where there is none."""
    binary = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs chromium and chromedriver: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        # Chromium refuses to be root in its own sandbox, and containers are root.
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def requests_of(browser: Any) -> list[str]:
    """Return the addresses that the browser has asked for since it was asked last, by its own log."""
    found = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.append(message["params"]["request"]["url"])
        elif message["method"] == "Network.webSocketCreated":
            found.append(message["params"]["url"])
    return [url for url in found if not url.startswith(("data:", "about:", "blob:", "chrome:"))]
