"""A browser on a page that is served on loopback; the Chromium is this machine's, see `tests.cluster.browser`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flask import Flask
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from werkzeug.serving import make_server

from tests.cluster.browser import found
from tests.cluster.settings import from_environment
from tests.fakes.serving import served

# Root's Chromium has no sandbox, and a container's /dev/shm is small.
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser. AssertionError if there is none on this machine."""
    program = found(from_environment())
    assert program is not None, "there is no Chromium: make cluster-browser"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


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
