"""python3 -m tests.cluster up | down | images | peers | monitoring | which TOOL | restart PART | status"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

from tests.cluster import browser, images, monitoring, namespace, parts, preflight, start, stop, tools
from tests.cluster.processes import Record, kill, read_records
from tests.cluster.report import ClusterError, step
from tests.cluster.settings import Settings, from_environment

USED_BY_TESTS = tools.USED_BY_TESTS | {"chromium": browser.chromium}


def main(arguments: Sequence[str]) -> int:
    """Exit code 0, or 1 with one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="tests.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start the cluster, or see that it runs; build and load the images")
    commands.add_parser("down", help="stop it and remove everything but caches and logs")
    commands.add_parser("images", help="build and load certjob's images into the running cluster")
    commands.add_parser("peers", help="install and build the ACME servers that others wrote")
    commands.add_parser("monitoring", help="unpack Prometheus and promtool")
    which = commands.add_parser("which", help="the path of what tests use, made if it is not there yet")
    which.add_argument("tools", nargs="+", choices=USED_BY_TESTS)
    commands.add_parser("restart", help="restart one part with the present settings").add_argument("part")
    commands.add_parser("status", help="what runs, as JSON")
    options = parser.parse_args(arguments)
    try:
        settings = from_environment()
        if options.command == "status":
            print(stop.status(settings))
            return 0
        preflight.check_user(os.geteuid())
        steps = sys.stderr if options.command == "which" else sys.stdout
        with redirect_stdout(steps), _alone(settings):
            _carry_out(options, settings)
    except ClusterError as error:
        print(f"certjob cluster: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"certjob cluster: {error.strerror}: {error.filename or 'no file'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("certjob cluster: interrupted; run it again, or make cluster-down", file=sys.stderr)
        return 130
    return 0


def _carry_out(options: argparse.Namespace, settings: Settings) -> None:
    if options.command == "up":
        preflight.check(settings)
        start.up(settings)
    elif options.command == "down":
        stop.stop(settings)
        step("the cluster is down")
    elif options.command == "images":
        images.load(settings, images.build_project(settings), _running(settings))
        step("images are loaded")
    elif options.command == "peers":
        tools.peers(settings)
        step("step-ca, Caddy and acme2certifier are there")
    elif options.command == "monitoring":
        step(f"Prometheus and promtool are in {monitoring.prometheus(settings)}")
    elif options.command == "which":
        print(*(USED_BY_TESTS[name](settings) for name in options.tools), sep="\n", file=sys.__stdout__)
    elif options.command == "restart":
        _restart(options.part, settings)


def _running(settings: Settings) -> Record:
    holder = namespace.current(settings.state)
    if not holder:
        raise ClusterError("the cluster does not run: make cluster")
    return holder


def _restart(name: str, settings: Settings) -> None:
    known = parts.all_parts(settings)
    if name not in known:
        raise ClusterError(f"there is no part {name!r}; the parts are {', '.join(known)}")
    holder = _running(settings)
    if record := read_records(settings.state).get(name):
        kill(record)
    start.configure_pebble(settings)
    started = start.start_part(settings, name, holder)
    start.probe(settings, holder, ["kube-apiserver", *start.PROBES], [started])
    step(f"{name} was restarted")


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One command at a time; the kernel gives the lock back however the holder ends."""
    settings.cache.mkdir(parents=True, exist_ok=True)
    with (settings.cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            step("waiting for another cluster command to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
