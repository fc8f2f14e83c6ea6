"""A Pebble of one's own, for what the shared one does not do: demand external accounts, offer several chains."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster import config
from tests.cluster import settings as s
from tests.e2e.api import wait_for


@dataclass(frozen=True)
class OwnPebble:
    """Where it listens: its directory's URL, and its management port."""

    port: int
    management_port: int

    @property
    def directory(self) -> str:
        return f"https://{s.PEBBLE_HOST}:{self.port}/dir"

    def get(self, path: str) -> bytes:
        """From the management port, for instance `/roots/0`."""
        context = ssl.create_default_context(cafile=os.environ["CERTJOB_PEBBLE_CA"])
        connection = http.client.HTTPSConnection(s.PEBBLE_HOST, self.management_port, context=context, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def answers(self) -> bool:
        """Whether it takes requests."""
        try:
            return bool(self.get("/roots/0"))
        except OSError:
            return False


@contextmanager
def own_pebble(
    directory: Path, *, port: int, env: dict[str, str] | None = None, **fields: Any
) -> Iterator[OwnPebble]:
    """Run one until the block ends. `fields` are added to its configuration; `directory` takes that and the log."""
    settings = s.from_environment(os.environ)
    made = OwnPebble(port, port + 1000)
    document = json.loads(config.pebble(settings, port=port, management_port=made.management_port))
    document["pebble"] |= fields
    (directory / "pebble.json").write_text(json.dumps(document))
    command = [f"{settings.binaries}/pebble", f"-config={directory}/pebble.json", f"-dnsserver={s.NODE_IP}:53"]
    variables = os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"} | (env or {})
    with (directory / "pebble.log").open("w") as log:
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
        try:
            wait_for(made.answers, what="the own Pebble answers")
            yield made
        finally:
            process.kill()
            process.wait(10)
