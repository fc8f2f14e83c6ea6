"""The user's own kubectl as the way to the API server: one `kubectl proxy` on a Unix socket, ended with the command.

So contexts, logins, proxies and impersonation are exactly kubectl's. A shell stands between as a guard: it ends
kubectl and removes the socket when the pipe that holds it is closed, however this process ends.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread

from issuer_job.cli.base.endings import CommandError

GUARD = """
directory=$1 terminal=$2; shift 2
trap '' INT
"$@" <"$terminal" & kubectl=$!
exec >&- 2>&-
trap 'trap "" HUP TERM; kill $kubectl; wait $kubectl; rm -rf "$directory"' EXIT
trap 'exit' HUP TERM
read -r _
"""
"""Runs a command of kubectl's, with a directory to remove at the end and what a login may read from."""
_SERVES = "Starting to serve on"
_KLOG = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d")
PATIENCE = 5.0
"""Seconds for kubectl to end."""
MISSING = "kubectl is not on the PATH: certjob asks the API server by it, with its contexts and logins"


def kubectl() -> str:
    """Its path. Raises CommandError."""
    found = shutil.which("kubectl")
    if found is None:
        raise CommandError(MISSING)
    return found


def end(process: subprocess.Popen[bytes], listener: Thread) -> None:
    """End a kubectl that `GUARD` watches, by its standard input, and wait for it; `listener` reads its errors."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.terminate()
    listener.join(PATIENCE)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


class KubectlProxy:
    """Starts at once, and serves when `socket` has returned. `flags` are kubectl's own, `say` gets what it says to
    the user, as a login does.
    """

    def __init__(self, flags: Sequence[str], say: Callable[[str], None]) -> None:
        command = [kubectl(), "proxy", *flags, "--append-server-path"]
        self._directory = Path(tempfile.mkdtemp(prefix="kubectl-certjob-"))  # of mode 0700
        self._socket = self._directory / "api"
        self._say = say
        self._words: list[str] = []
        guard = ["sh", "-c", GUARD, "sh", str(self._directory), login_terminal()]
        self._process = subprocess.Popen(
            [*guard, *command, f"--unix-socket={self._socket}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._listener = Thread(target=self._listen, name="kubectl", daemon=True)
        self._listener.start()
        self._serving = False

    def socket(self) -> Path:
        """Where it serves, once it does. Raises CommandError with its words if it never will."""
        if not self._serving:
            out = self._process.stdout
            line = out.readline(4096).decode(errors="replace") if out is not None else ""
            if _SERVES not in line:
                self._listener.join(PATIENCE)
                words = " ".join(self._words).removeprefix("error: ") or "it ended without a word"
                raise CommandError(f"kubectl proxy: {words}")
            self._serving = True
        return self._socket

    def close(self) -> None:
        """End it, and wait until it has."""
        end(self._process, self._listener)

    def _listen(self) -> None:
        """What kubectl says: before it serves its errors, later perhaps what a login asks the user to do.

        The lines of its log are left out: they repeat what its answers say.
        """
        stream = self._process.stderr
        if stream is None:
            return
        rest = b""
        while chunk := os.read(stream.fileno(), 4096):
            *lines, rest = (rest + chunk).split(b"\n")
            if rest and not _KLOG.match(rest.decode(errors="replace")):  # a question, that waits for an answer
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._hear(line.decode(errors="replace").strip())

    def _hear(self, line: str) -> None:
        if not line or _KLOG.match(line):
            return
        if self._serving:
            self._say(line)
        else:
            self._words.append(line)


class ContextNamespace:
    """Which namespace kubectl's context has: asked for at once, while other work goes on. Raises CommandError."""

    def __init__(self, flags: Sequence[str]) -> None:
        command = [kubectl(), "config", "view", "--minify", "-o", "jsonpath={.contexts[0].context.namespace}", *flags]
        silent = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=silent, stdout=subprocess.PIPE, stderr=silent)

    def name(self) -> str:
        """Empty if it has none; then kubectl takes `default`."""
        return self._process.communicate()[0].decode(errors="replace").strip()

    def close(self) -> None:
        """End it, if nobody wanted to know."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def login_terminal() -> str:
    """What a login of kubectl's may read from."""
    return "/dev/tty" if os.isatty(0) else os.devnull
