"""A kubectl for tests, run as a process: `proxy` on a Unix socket, and `config view`.

with fake_kubectl(tmp_path, "serves") as calls:   # it is on the PATH, and writes down how it was called
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "from-the-context"


def install(directory: Path, behaviour: str) -> Path:
    """A file `kubectl` in `directory`, which must be put on the PATH, and where it notes its arguments, a line each.

    `behaviour`: serves; refuses (says why and ends); dies (after its first answer); asks (as a login does).
    """
    calls = directory / "calls"
    calls.touch()
    program = directory / "kubectl"
    python = f"exec '{sys.executable}' -m tests.fakes.kubectl '{behaviour}' '{calls}'"
    program.write_text(f'#!/bin/sh\ncd "{ROOT}" && {python} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    return calls


def main(behaviour: str, calls: str, arguments: list[str]) -> int:
    """Be kubectl."""
    with Path(calls).open("a") as file:
        file.write(json.dumps(arguments) + "\n")
    if arguments[:2] == ["config", "view"]:
        print(NAMESPACE, end="")
        return 0
    if behaviour == "refuses":
        print('error: context "nope" \x1b[2Jdoes not exist', file=sys.stderr)
        return 1
    from tests.fakes.api import FakeApi
    from tests.fakes.api_server import socket_api

    path = next(word.partition("=")[2] for word in arguments if word.startswith("--unix-socket="))
    with socket_api(Path(path), FakeApi()) as server:
        print(f"Starting to serve on {path}", flush=True)
        while not server.headers:
            time.sleep(0.01)
        print("E1128 10:00:00.000000   1 proxy_server.go:147] Error while proxying request", file=sys.stderr)
        if behaviour == "asks":
            print("Visit https://login.certjob.test and enter ABCD", file=sys.stderr)
            print("Password: ", end="", file=sys.stderr, flush=True)
        if behaviour == "dies":
            os._exit(2)
        while True:
            time.sleep(60)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
