"""`kubectl certjob` as users run it: the real kubectl finds the plugin on its PATH."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 90.0


@dataclass(frozen=True)
class Plugin:
    """`kubectl` with the plugin and its completion in a directory on the PATH."""

    directory: Path

    def run(self, *arguments: str, longest: float = LONGEST, **environment: str) -> subprocess.CompletedProcess[str]:
        """`kubectl ARGUMENTS`, without a terminal, `longest` seconds at most."""
        path = f"{self.directory}:{os.environ['PATH']}"
        return subprocess.run(
            ["kubectl", *arguments],
            env=os.environ | {"PATH": path} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=longest,
            check=False,
        )

    def certjob(
        self, *arguments: str, longest: float = LONGEST, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """`kubectl certjob ARGUMENTS`."""
        return self.run("certjob", *arguments, longest=longest, **environment)


def install(directory: Path) -> Plugin:
    """The two console scripts, of this checkout."""
    for name, function in (("kubectl-certjob", "main"), ("kubectl_complete-certjob", "complete")):
        script = directory / name
        code = f"import sys; sys.path.insert(0, '{ROOT}'); from issuer_job.cli.main import {function}; {function}()"
        script.write_text(f"#!{sys.executable}\n{code}\n")
        script.chmod(script.stat().st_mode | stat.S_IEXEC)
    return Plugin(directory)
