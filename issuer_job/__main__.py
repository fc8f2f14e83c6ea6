"""Command line: `python -m issuer_job issue|responder|sweep|bootstrap`.

Each command imports only what it needs: a Job's start-up is part of every certificate's time.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import sys
import time
from datetime import timedelta

from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.kube import Cluster, KubeError
from issuer_job.retrying import RetryingTransport

logger = logging.getLogger(__name__)

ISSUE_DEADLINE = 270.0
"""Seconds after which the process gives up: the pod is ended after 300."""
SWEEP_DEADLINE = 220.0
BOOTSTRAP_DEADLINE = 240.0


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is for the Job's podFailurePolicy."""
    parser = argparse.ArgumentParser(prog="python -m issuer_job", description="certjob: one Job, one order.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("issue", help="complete the order of the record that the environment names")
    commands.add_parser("responder", help="answer HTTP-01 challenges for all orders")
    commands.add_parser("sweep", help="one pass: launch what was missed or put off")
    commands.add_parser("bootstrap", help="make the webhook's certificate and the issuers' account keys")
    command = parser.parse_args(arguments).command
    log.configure(os.environ.get("CERTJOB_LOG", "json"))
    try:
        return int(_COMMANDS[command]())
    except KubeError as problem:
        logger.error("api-server", extra={"fields": {"problem": str(problem)}})
        return int(v.ExitCode.RETRY)


def _issue() -> v.ExitCode:
    from issuer_job.attempt import Attempt, Pod, utc_now
    from issuer_job.issue import issue

    try:
        pod = Pod(
            record=os.environ["CERTJOB_RECORD"],
            record_uid=os.environ["CERTJOB_RECORD_UID"],
            epoch=int(os.environ["CERTJOB_EPOCH"]),
            uid=os.environ["CERTJOB_POD_UID"],
        )
    except (KeyError, ValueError) as missing:
        logger.error("environment", extra={"fields": {"problem": f"{missing} is not set: run this as certjob's Job"}})
        return v.ExitCode.PERMANENT
    deadline = utc_now() + timedelta(seconds=ISSUE_DEADLINE)
    exit_code = issue(Attempt(_cluster(ISSUE_DEADLINE), pod, deadline))
    used = resource.getrusage(resource.RUSAGE_SELF)
    fields = {
        "exit_code": int(exit_code),
        "peak_mib": used.ru_maxrss // 1024,
        "cpu_seconds": round(time.process_time(), 2),
    }
    logger.info("ended", extra={"fields": fields})
    return exit_code


def _responder() -> v.ExitCode:
    from issuer_job.responder import serve
    from issuer_job.transport import LibraryTransport

    serve(Cluster(LibraryTransport()))
    return v.ExitCode.DONE


def _sweep() -> v.ExitCode:
    from issuer_job.sweep import sweep

    seconds = os.environ.get("CERTJOB_SWEEP_INTERVAL", "300")
    if not seconds.isdigit() or not 10 <= int(seconds) <= 86400:
        problem = "CERTJOB_SWEEP_INTERVAL is not a number of seconds from 10 to 86400"
        logger.error("environment", extra={"fields": {"problem": problem}})
        return v.ExitCode.PERMANENT
    return sweep(
        _cluster(SWEEP_DEADLINE),
        deadline=time.monotonic() + SWEEP_DEADLINE,
        interval=timedelta(seconds=int(seconds)),
    )


def _bootstrap() -> v.ExitCode:
    from issuer_job.bootstrap import bootstrap

    bootstrap(_cluster(BOOTSTRAP_DEADLINE))
    return v.ExitCode.DONE


def _cluster(seconds: float) -> Cluster:
    from issuer_job.transport import LibraryTransport

    return Cluster(RetryingTransport(LibraryTransport(), deadline=time.monotonic() + seconds))


_COMMANDS = {"issue": _issue, "responder": _responder, "sweep": _sweep, "bootstrap": _bootstrap}

if __name__ == "__main__":
    sys.exit(main())
