"""Command line: `python -m issuer_job COMMAND`; without one it lists them.

Each command imports only what it needs: a Job's start-up is part of every certificate's time.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from issuer_job import log, names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Cluster, KubeError
from issuer_job.cluster.retrying import RetryingTransport

if TYPE_CHECKING:
    from issuer_job.attempt.attempt import Attempt
    from issuer_job.last_word import Tally
    from issuer_job.tenant_secrets.access import Looker


SWEEP_DEADLINE = 220.0
BOOTSTRAP_DEADLINE = 240.0
TRANSFER_DEADLINE = 30.0
CHECK_DEADLINE = 400.0
REVOKE_DEADLINE = 1200.0
SELF_TEST_DEADLINE = 60.0


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is for the Job's podFailurePolicy."""
    parser = argparse.ArgumentParser(prog="python -m issuer_job", description="certjob: one Job, one order.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("issue", help="complete the order of the record that the environment names")
    commands.add_parser("responder", help="answer HTTP-01 challenges for all orders")
    commands.add_parser("sweep", help="one pass: launch what was missed or put off")
    commands.add_parser("bootstrap", help="make the webhook's certificate and the issuers' account keys")
    commands.add_parser("answers", help="whether every part answers; `helm test` runs it")
    commands.add_parser("self-test", help="operator: try every policy and every right that certjob must not have")
    transfer = commands.add_parser("transfer-host", help="operator: give a host to a namespace, whoever has it")
    transfer.add_argument("host", help="a DNS name, or a wildcard")
    transfer.add_argument("namespace", help="whose Ingresses get certificates for it from now on")
    stolen = commands.add_parser("replace-webhook-ca", help="operator: give up a CA whose key may be known to others")
    stolen.add_argument(
        "--at-once", action="store_true", help="do not wait until the webhook's pods show the new one"
    )
    revoke = commands.add_parser("revoke", help="operator: revoke a certificate, and get another with a new key")
    revoke.add_argument("namespace")
    revoke.add_argument("secret", help="the Secret that holds it")
    revoke.add_argument("--reason", default="unspecified", help="what the CA is told (RFC 5280): keyCompromise, ...")
    revoke.add_argument(
        "--serial", default="", help="an earlier certificate of the Secret, by its serial number in hex"
    )
    for name, what in (
        ("check-issuer", "operator: test an issuer, in a Job that has its credentials"),
        ("rollover-account", "operator: give an issuer's ACME account a new key"),
        ("reset-account", "operator: give an issuer another ACME account, where the one it has is of no more use"),
        ("replace-certificates", "operator: have the sweeps replace all certificates that an issuer has given"),
    ):
        commands.add_parser(name, help=what).add_argument("issuer", help="name of the issuer's ConfigMap")
    status = "ask for nothing, and say how many are left of what was asked for"
    commands.choices["replace-certificates"].add_argument("--status", action="store_true", help=status)
    given = parser.parse_args(arguments)
    log.configure(os.environ.get("CERTJOB_LOG", "json"))
    try:
        if given.command == "transfer-host":
            return int(_transfer_host(given.host, given.namespace))
        if given.command == "replace-webhook-ca":
            return int(_replace_webhook_ca(at_once=given.at_once))
        if given.command == "revoke":
            return int(_revoke(given.namespace, given.secret, given.reason, given.serial))
        if "issuer" in given:
            return int(_of_issuer(given))
        if given.command in _JOBS:
            return int(_job(given.command))
        return int(_COMMANDS[given.command]())
    except _WrongEnvironment as problem:
        log.error("environment", problem=str(problem))
        return int(v.ExitCode.PERMANENT)
    except KubeError as problem:
        log.error("api-server", problem=str(problem))
        return int(v.ExitCode.RETRY)


class _WrongEnvironment(Exception):
    """The process was not started as certjob's manifests start it."""


def _job(command: str) -> v.ExitCode:
    """A Job's process: whatever it comes to, its pod's status says it. Raises KubeError."""
    from issuer_job.last_word import Tally, Work, leave

    tally, code = Tally(Work(command)), v.ExitCode.RETRY
    try:
        code = _JOBS[command](tally)
        return code
    except _WrongEnvironment:
        code, tally.problem = v.ExitCode.PERMANENT, "environment"
        raise
    except Exception as problem:
        tally.problem = "apiServer" if isinstance(problem, KubeError) else "internalError"
        raise
    finally:
        if untold := leave(tally.word(code)):
            log.warning("no-last-word", problem=untold)


def _issue(tally: Tally) -> v.ExitCode:
    wall, cpu = time.monotonic(), time.process_time()
    from issuer_job.attempt.attempt import ISSUE_DEADLINE, Attempt, Pod
    from issuer_job.issue.issue import issue
    from issuer_job.last_word import Step, Work
    from issuer_job.polling import utc_now

    # An import waits for nothing but a CPU: this says how many others want it, without knowing the node.
    stretch = round((time.monotonic() - wall) / max(time.process_time() - cpu, 0.001), 2)

    try:
        pod = Pod(
            record=os.environ["CERTJOB_RECORD"],
            record_uid=os.environ["CERTJOB_RECORD_UID"],
            epoch=int(os.environ["CERTJOB_EPOCH"]),
            uid=os.environ["CERTJOB_POD_UID"],
        )
    except (KeyError, ValueError) as missing:
        raise _WrongEnvironment(f"{missing} is not set: run this as certjob's Job") from None
    looker = _looker()
    deadline, seconds = utc_now() + ISSUE_DEADLINE, ISSUE_DEADLINE.total_seconds()
    attempt = Attempt(_cluster(seconds), pod, deadline, looker=looker, stretch=stretch, tally=tally)
    if "." in pod.record:
        tally.begin(Step.START)
        exit_code = issue(attempt)
    else:
        tally.work = Work.CHECK
        exit_code = _check_issuer(attempt)
    said = tally.word(exit_code)
    used = {"peak_mib": said.peak_mib, "cpu_seconds": said.cpu_seconds}
    log.info("ended", exit_code=said.exit_code, **used, steps=said.steps)
    return exit_code


def _check_issuer(attempt: Attempt) -> v.ExitCode:
    """A Job whose record has no dot is an issuer's own: the records of certificates are called NAMESPACE.SECRET."""
    from issuer_job.checks.check import check_issuer

    return check_issuer(attempt)


def _responder() -> v.ExitCode:
    from issuer_job.cluster.transport import HttpTransport
    from issuer_job.http01.responder import serve

    serve(Cluster(HttpTransport()))
    return v.ExitCode.DONE


def _sweep(tally: Tally) -> v.ExitCode:
    from issuer_job.sweep.sweep import sweep

    seconds = names.number(os.environ.get("CERTJOB_SWEEP_INTERVAL", "300"))
    if not 10 <= seconds <= 86400:
        raise _WrongEnvironment("CERTJOB_SWEEP_INTERVAL is not a number of seconds from 10 to 86400")
    looker = _looker()
    return sweep(
        _cluster(SWEEP_DEADLINE),
        deadline=time.monotonic() + SWEEP_DEADLINE,
        interval=timedelta(seconds=seconds),
        looker=looker,
        tally=tally,
    )


def _looker() -> Looker:
    """How this cluster lets certjob look at Secrets, as the manifests say."""
    from issuer_job.tenant_secrets.access import LOOKERS

    looker = LOOKERS.get(os.environ.get("CERTJOB_LOOK", "policy"))
    if looker is None:
        raise _WrongEnvironment(f"CERTJOB_LOOK is none of {', '.join(LOOKERS)}")
    return looker


def _bootstrap(tally: Tally) -> v.ExitCode:
    from issuer_job.sweep.opening import keep_hosts
    from issuer_job.upkeep.bootstrap import bootstrap
    from issuer_job.upkeep.webhook.pods import wait_ready

    looker = _looker()
    cluster, started = _cluster(BOOTSTRAP_DEADLINE), time.monotonic()

    def opening() -> None:
        wait_ready(cluster, until=started + BOOTSTRAP_DEADLINE / 4)
        keep_hosts(cluster, deadline=started + BOOTSTRAP_DEADLINE / 2, looker=looker)

    bootstrap(cluster, opening=opening)
    return v.ExitCode.DONE


def _answers() -> v.ExitCode:
    from issuer_job.checks.answers import answers

    return answers(_cluster(SELF_TEST_DEADLINE))


def _self_test() -> v.ExitCode:
    """As each identity that the kubeconfig may impersonate; in a pod as its own."""
    from issuer_job.cluster.transport import HttpTransport
    from issuer_job.tenant_secrets.access import look_by_policy
    from issuer_job.upkeep.self_test import IDENTITIES, identity_of, self_test

    looker = _looker()
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        cluster = _cluster(SELF_TEST_DEADLINE)
        clusters = {identity_of(cluster): cluster}
    else:
        users = {name: f"system:serviceaccount:{v.NAMESPACE}:{name}" for name in IDENTITIES}
        clusters = {name: Cluster(HttpTransport(user=user)) for name, user in users.items()}
    return self_test(clusters, looks=looker is look_by_policy)


def _replace_webhook_ca(*, at_once: bool) -> v.ExitCode:
    from issuer_job.polling import utc_now
    from issuer_job.upkeep.webhook.rotation import STOLEN_PATIENCE, replace_authority

    patience = 0.0 if at_once else STOLEN_PATIENCE
    return replace_authority(_cluster(SWEEP_DEADLINE), now=utc_now(), patience=patience)


def _transfer_host(host: str, namespace: str) -> v.ExitCode:
    from issuer_job.hosts.transfer import transfer_host
    from issuer_job.polling import utc_now

    return transfer_host(_cluster(TRANSFER_DEADLINE), host, namespace, now=utc_now())


def _of_issuer(given: argparse.Namespace) -> v.ExitCode:
    from issuer_job.checks.command import IssuerCommand
    from issuer_job.polling import utc_now

    logging.getLogger().setLevel(logging.WARNING)  # people read what the command says
    asked = IssuerCommand(cluster=_cluster(CHECK_DEADLINE), name=given.issuer, clock=utc_now)
    if given.command == "replace-certificates":
        return asked.replace_all(only_status=given.status)
    commands = {"rollover-account": asked.roll_over, "reset-account": asked.reset_account}
    return commands.get(given.command, asked.check)()


def _revoke(namespace: str, secret: str, reason: str, serial: str) -> v.ExitCode:
    from issuer_job.checks.revocation_command import RevokeCommand
    from issuer_job.polling import utc_now
    from issuer_job.upkeep.revocations import Reason, Revocation

    if reason not in set(Reason):
        log.error("revoke", problem=f"the reason is none of {', '.join(Reason)}")
        return v.ExitCode.PERMANENT
    logging.getLogger().setLevel(logging.ERROR)  # people read what the command says
    number = serial.replace(":", "").lower().lstrip("0")
    asked = Revocation(namespace=namespace, secret_name=secret, reason=Reason(reason), serial=number)
    return RevokeCommand(cluster=_cluster(REVOKE_DEADLINE), revocation=asked, clock=utc_now).run()


def _cluster(seconds: float) -> Cluster:
    from issuer_job.cluster.transport import HttpTransport

    return Cluster(RetryingTransport(HttpTransport(), deadline=time.monotonic() + seconds))


_JOBS = {"issue": _issue, "sweep": _sweep, "bootstrap": _bootstrap}
_COMMANDS = {"responder": _responder, "answers": _answers, "self-test": _self_test}

if __name__ == "__main__":
    sys.exit(main())
