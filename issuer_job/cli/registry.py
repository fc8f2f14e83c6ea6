"""The commands by name: where each is, and the line that `--help` has for it, so that no other has to be imported."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """`function` in `module`, which is below this package; `line` is the first of its docstring."""

    module: str
    function: str
    line: str


COMMANDS = {
    "status": Row(
        "reading.status", "status", "Which certificates there are, whether they are ready, and what comes next."
    ),
    "describe": Row("reading.describe", "describe", "All that is known of a certificate."),
    "why": Row("reading.describe", "why", "Why a certificate is not ready, what comes next, and what to do."),
    "wait": Row("reading.wait", "wait", "Wait until certificates are there."),
    "logs": Row("reading.logs", "logs", "The log of a certificate's newest attempt."),
    "issuers": Row(
        "reading.issuers", "issuers", "The issuers, whether they are ready, and what is left of their orders."
    ),
    "check": Row("checking.check", "check", "Whether an order would succeed; orders and writes nothing."),
    "renew": Row(
        "writing.renew", "renew", "Have certificates renewed now, which are served until the new ones are there."
    ),
    "retry": Row("writing.retry", "retry", "Have what failed tried again now."),
    "adopt": Row("writing.adopt", "adopt", "Hand Secrets over to certjob, with the certificates in them."),
    "transfer-host": Row(
        "writing.transfer_host", "transfer_host", "Give a host to a namespace, whoever has it; for operators."
    ),
    "revoke": Row(
        "writing.revoke", "revoke", "Revoke a Secret's certificate, and get another with another key; for operators."
    ),
    "doctor": Row("doctoring.doctor", "doctor", "Whether certjob itself is as it should be; for operators."),
    "migrate": Row(
        "moving.migrate", "migrate", "Move between certjob and kube-lego or cert-manager, with no new order."
    ),
    "page": Row("reading.page", "page", "Make the status page reachable from this machine."),
    "completion": Row("reading.completion", "completion", "Print what makes a shell complete kubectl-certjob."),
    "version": Row("reading.version", "version", "Which versions are at work."),
}
"""In the order of `--help`."""
