"""A provider in lexicon's manner that writes into FakeDns: whole sets at a time, and with faults.

with fake_provider(world) as provider:
    provider.raises.append(HTTPError("no"))
    ... Dns01(provider="fakedns", options={"server": "x"}) with the secret option auth_token
"""

from __future__ import annotations

import logging
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from lexicon.interfaces import Provider

from tests.fakes.dns import ADDRESSES, FakeDns

NAME = "fakedns"


@dataclass
class FakeProvider:
    """`calls` are what was asked of it. `raises` are raised one by one; `servers` get what is added."""

    world: FakeDns
    calls: list[tuple[str, ...]] = field(default_factory=list)
    raises: list[Exception] = field(default_factory=list)
    says_no: bool = False
    servers: tuple[str, ...] = ADDRESSES
    before_write: Callable[[], None] = lambda: None
    logins: int = 0
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def change(self, what: str, name: str, value: str) -> bool:
        """Read all values of the name, change them, write all of them back."""
        if self.raises:
            raise self.raises.pop(0)
        if self.says_no:
            logging.getLogger("lexicon.fake").error("the set is locked")
            return False
        self.calls.append((what, name, value))
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        values = self.world.values(name)
        self.before_write()
        wanted = values | {value} if what == "add" else values - {value}
        for old in self.world.values(name) - wanted:
            self.world.remove_text(name, old)
        for new in wanted:
            self.world.add_text(name, new, servers=self.servers)
        with self.lock:
            self.at_once -= 1
        return True


def _module(fake: FakeProvider) -> ModuleType:
    class Made(Provider):
        """As lexicon would load it."""

        @staticmethod
        def configure_parser(parser: ArgumentParser) -> None:
            parser.add_argument("--auth-token")
            parser.add_argument("--server", default="default.example")
            parser.add_argument("--flag", action="store_true")

        @staticmethod
        def get_nameservers() -> list[str]:
            return []

        def authenticate(self) -> None:
            fake.logins += 1
            fake.calls.append(("login", self.domain, str(self._get_provider_option("auth_token"))))

        def create_record(self, rtype: str, name: str, content: str) -> bool:
            assert rtype == "TXT"
            return fake.change("add", name, content)

        def delete_record(
            self, identifier: Any = None, rtype: Any = None, name: Any = None, content: Any = None
        ) -> bool:
            assert rtype == "TXT"
            return fake.change("remove", name, content)

        def list_records(self, rtype: Any = None, name: Any = None, content: Any = None) -> list[dict[str, Any]]:
            return [{"type": "TXT", "name": name, "content": value} for value in fake.world.values(name)]

        def update_record(self, *args: Any, **kwargs: Any) -> bool:
            return False

        def _request(self, *args: Any, **kwargs: Any) -> None: ...

    module = ModuleType(NAME)
    module.Provider = Made  # type: ignore[attr-defined]
    return module


@contextmanager
def fake_provider(world: FakeDns) -> Iterator[FakeProvider]:
    """Make lexicon know it."""
    fake = FakeProvider(world)
    name = f"lexicon._private.providers.{NAME}"
    sys.modules[name] = _module(fake)
    try:
        yield fake
    finally:
        del sys.modules[name]
