"""Start long-running processes, remember them, and stop exactly those.

A process is remembered by its id together with the machine's boot id and the start time from /proc, because
ids are given out again. The child waits until its record is written and it sits in the cluster's cgroup;
if the starter dies before that, the child ends by itself. So nothing can run that is not remembered.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cluster import cgroups
from tests.cluster.report import ClusterError
from tests.cluster.settings import Settings
from tests.cluster.shell import telling_line, wait_for

_WAIT_THEN_BECOME = 'read -r go && [ "$go" = go ] && exec "$@" </dev/null'


@dataclass(frozen=True)
class Record:
    """One started process: `start` is in clock ticks since boot (proc(5), stat field 22)."""

    name: str
    pid: int
    start: int
    boot: str


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def parse_start(stat: str) -> int | None:
    """The start time from the text of /proc/PID/stat; None for a zombie, which is as good as gone."""
    # The second field is the command in parentheses and may itself hold spaces and parentheses.
    fields = stat[stat.rindex(")") + 1 :].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def start_of(pid: int) -> int | None:
    """The start time of a running process; None if there is none."""
    try:
        return parse_start(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_running(record: Record) -> bool:
    """Whether the recorded process, and not another one with its id, is alive."""
    return record.boot == boot_id() and start_of(record.pid) == record.start


def read_records(state: Path) -> dict[str, Record]:
    """All records below the state directory; half-written ones cannot exist, damaged ones are left out."""
    records = {}
    for path in sorted((state / "processes").glob("*.json")):
        try:
            record = Record(**json.loads(path.read_text()))
        except (ValueError, TypeError):
            continue
        records[record.name] = record
    return records


def write_record(state: Path, record: Record) -> None:
    directory = state / "processes"
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / f".{record.name}.partial"
    partial.write_text(json.dumps(asdict(record)))
    partial.replace(directory / f"{record.name}.json")


def spawn(name: str, argv: Sequence[str | Path], *, settings: Settings, env: Mapping[str, str]) -> Record:
    """Start a process in the cluster's cgroup, its output in logs/NAME.log, and record it."""
    state = settings.state
    log = state / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = ["sh", "-c", _WAIT_THEN_BECOME, "sh", *map(str, argv)]
    with log.open("ab") as out:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=out, env=dict(env), start_new_session=True, cwd="/"
        )
    start = start_of(child.pid)
    if start is None or child.stdin is None:
        raise ClusterError(f"{name} ended at once; its log is {log}")
    record = Record(name=name, pid=child.pid, start=start, boot=boot_id())
    write_record(state, record)
    cgroups.join(child.pid, settings.cgroup)
    child.stdin.write(b"go\n")
    child.stdin.close()
    child.returncode = 0  # It outlives this program: no "still running" warning when the object goes.
    return record


def expect_running(record: Record, *, state: Path) -> None:
    """Raise ClusterError with the last words of its log if a part has ended."""
    if not is_running(record):
        log = state / "logs" / f"{record.name}.log"
        last = telling_line(log.read_text(errors="replace")) if log.exists() else ""
        raise ClusterError(f"{record.name} ended by itself: {last or 'its log is empty'} (log: {log})")


def kill(record: Record) -> None:
    """End the recorded process, if it still is the recorded one, and wait until it is gone."""
    if not is_running(record):
        return
    try:
        # A pidfd cannot come to mean another process between the check and the signal.
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return
    try:
        if is_running(record):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            _wait_for_end(handle, record.name)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)
    wait_for(lambda: not is_running(record), what=f"the end of {record.name}", seconds=10, interval=0.01)


def _wait_for_end(handle: int, name: str) -> None:
    """A killed process is a zombie before its last thread has closed the ports: only the pidfd tells the real end."""
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    if not poller.poll(10_000):
        raise ClusterError(f"{name} was killed and did not end within 10 s")
