"""One `kubectl port-forward` to a pod, on a port of 127.0.0.1, ended with the command."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from threading import Thread
from typing import Self

from issuer_job.cli.base.endings import CommandError
from issuer_job.cli.way.kubectl import GUARD, PATIENCE, end, kubectl, login_terminal

ADDRESS = "127.0.0.1"
_FORWARDS = re.compile(rf"Forwarding from {re.escape(ADDRESS)}:(\d{{1,5}}) -> ")
_MOST_WORDS = 500


class PortForward:
    """Starts at once, and is there when `port` has returned. `flags` are kubectl's own; `target` is pod/NAME or
    deployment/NAME; `remote` is a port there, `local` one here, 0 for any that is free.
    """

    def __init__(self, flags: Sequence[str], namespace: str, target: str, remote: int, local: int = 0) -> None:
        ports = f"{local or ''}:{remote}"
        command = [kubectl(), "port-forward", *flags, "-n", namespace, target, ports, f"--address={ADDRESS}"]
        self._target, self._words = target, ""
        self._process = subprocess.Popen(
            ["sh", "-c", GUARD, "sh", "", login_terminal(), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._listener = Thread(target=self._listen, name="port-forward", daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def port(self) -> int:
        """The port here. Raises CommandError with kubectl's words if it never will be."""
        out = self._process.stdout
        line = out.readline(4096).decode(errors="replace") if out is not None else ""
        found = _FORWARDS.match(line)
        if found is None:
            self._listener.join(PATIENCE)
            words = self._words.removeprefix("error: ") or "it ended without a word"
            raise CommandError(f"kubectl port-forward {self._target}: {words}")
        return int(found[1])

    def wait(self) -> str:
        """Until it ends by itself, as when its pod does; kubectl's last words."""
        out = self._process.stdout
        while out is not None and out.readline(4096):
            pass  # one for each connection
        self._listener.join(PATIENCE)
        return self._words

    def close(self) -> None:
        """End it, and wait until it has."""
        end(self._process, self._listener)

    def _listen(self) -> None:
        """The last of what it says of trouble."""
        while self._process.stderr is not None and (line := self._process.stderr.readline(4096)):
            self._words = line.decode(errors="replace").strip()[:_MOST_WORDS] or self._words
