"""A browser on a page that is served on loopback; its Chromium is there after `make cluster-browser`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which

from flask import Flask
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from werkzeug.serving import make_server

from tests.fakes.serving import served

# Root's Chromium has no sandbox, and a container's /dev/shm is small.
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser. Raises FileNotFoundError where there is none."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=ARGUMENTS)
        yield browser
        browser.close()


def program() -> Path:
    """The one that is unpacked, or installed. Raises FileNotFoundError."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = [
        *(cache / "certjob" / "tools").glob("chromium-*/chromium"),
        *map(Path, filter(None, [which("chromium")])),
    ]
    if not found:
        raise FileNotFoundError("chromium: make cluster-browser")
    return found[0]


@contextmanager
def at_loopback(app: Flask) -> Iterator[str]:
    """Where the application is served."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    with served(server):
        yield f"http://127.0.0.1:{server.server_port}"


@dataclass
class Seen:
    """What a page asked for, and what its browser complained of."""

    addresses: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """From now on. Whatever opens a dialog is a script."""

        def complained(message: ConsoleMessage) -> None:
            self.complaints.append(message.text)

        page.on("request", lambda request: self.addresses.append(request.url))
        page.on("console", complained)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
