"""Run other programs and wait for conditions; failures become one sentence that names the log or the cause."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.cluster.report import ClusterError

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


_TELLING = ("error", "panic:", "fatal", "no space left", "address already in use")


def run(
    argv: Sequence[str | Path],
    *,
    doing: str,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run to the end and return standard output ("" if it goes to `log`).

    Raises ClusterError "could not <doing>: <last line of what the program said>".
    """
    command = [str(word) for word in argv]
    try:
        if log is None:
            done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=cwd, errors="replace")
            said = (done.stderr or "") + (done.stdout or "")
        else:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("w") as out:
                done = subprocess.run(
                    command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, text=True, env=env, cwd=cwd
                )
            said = log.read_text(errors="replace")
    except FileNotFoundError as error:
        raise ClusterError(f"could not {doing}: the program {command[0]} is missing") from error
    if done.returncode != 0:
        where = f" (all of it: {log})" if log else ""
        raise ClusterError(f"could not {doing}: {telling_line(said) or f'exit code {done.returncode}'}{where}")
    return done.stdout or ""


def telling_line(text: str) -> str:
    """The line of a program's output that says most: the last that speaks of an error, else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if any(word in line.lower() for word in _TELLING)]
    return ([*lines[-1:], *errors[-1:]] or [""])[-1][:300]


def wait_for(condition: Callable[[], bool], *, what: str, seconds: float, interval: float = 0.05) -> None:
    """Poll until the condition holds; raises ClusterError when `seconds` have passed."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise ClusterError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(interval)


def environment_without_proxies() -> dict[str, str]:
    """The environment of everything that runs inside the cluster, which has no way out of its network."""
    kept = ("HOME", "LANG", "TERM", "XDG_CACHE_HOME", "CERTJOB_CLUSTER_STATE")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"PATH": SYSTEM_PATH}
