"""Which certificate each webhook pod shows, and whether the API server is told to trust it: by a way to each pod."""

from __future__ import annotations

import socket
import ssl
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from issuer_job import vocabulary as v
from issuer_job.background import at_once
from issuer_job.cli.base.endings import CommandError
from issuer_job.cli.base.session import Session
from issuer_job.cli.doctoring.judge import PARTS, RUNBOOK
from issuer_job.cli.out.verdicts import Judged, fail, ok, unknown
from issuer_job.cluster.api import Json

PORT = 8443
SECONDS = 5.0
MOST_PODS = 8
SOON = timedelta(days=7)
"""What lives 30 days is made anew after 15."""


@dataclass(frozen=True)
class ShownByPod:
    """`until` is when the certificate ends that it shows; else `problem` is what is wrong with that, or `unasked` why
    nobody could look.
    """

    pod: str
    until: datetime | None = None
    problem: str = ""
    unasked: str = ""


def bundles(configuration: Json) -> list[bytes]:
    """Each different caBundle of the entries (PEM); an empty one trusts nobody."""
    found = (str((entry.get("clientConfig") or {}).get("caBundle") or "") for entry in configuration["webhooks"])
    return [_decoded(text) for text in dict.fromkeys(found)]


def shown_by(session: Session, pods: Sequence[Json], trusted: Iterable[bytes]) -> list[ShownByPod]:
    """Of each pod, the first few."""
    every = list(trusted)
    return at_once(lambda pod: _shown(session, str(pod["metadata"]["name"]), every), pods[:MOST_PODS])


def _shown(session: Session, pod: str, trusted: Sequence[bytes]) -> ShownByPod:
    name, ends = f"{v.WEBHOOK_SERVICE}.{session.certjob_namespace}.svc", list[datetime]()
    try:
        with session.port_forward(f"pod/{pod}", PORT) as forwarded:
            port = forwarded.port()
            for bundle in trusted:
                ends.append(_handshake(port, name, bundle))
    except CommandError as problem:
        return ShownByPod(pod, unasked=str(problem))
    except ssl.SSLCertVerificationError as problem:
        return ShownByPod(pod, problem=f"the caBundle does not trust what {pod} serves ({problem.verify_message})")
    except (OSError, ValueError) as problem:
        return ShownByPod(pod, problem=f"{pod} does not answer on port {PORT} ({type(problem).__name__})")
    return ShownByPod(pod, until=min(ends, default=None))


def _handshake(port: int, name: str, bundle: bytes) -> datetime:
    """When the certificate ends. Raises OSError, ValueError."""
    trust = ssl.create_default_context(cadata=bundle.decode("ascii"))
    with (
        socket.create_connection(("127.0.0.1", port), SECONDS) as plain,
        trust.wrap_socket(plain, server_hostname=name) as tls,
    ):
        until = str((tls.getpeercert() or {}).get("notAfter"))
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(until), UTC)


def judge_serving(shown: Sequence[ShownByPod], now: datetime) -> Iterator[Judged]:
    """Whether the API server reaches every pod."""
    docs = f"{RUNBOOK}#certjobwebhookcertificateending"
    for one in shown:
        if one.problem:
            yield fail(PARTS, one.problem, docs=docs)
    unasked = [one for one in shown if one.unasked]
    if unasked:
        yield unknown(PARTS, f"whether the caBundle trusts what webhook pods serve: {unasked[0].unasked}")
    ends = [one.until for one in shown if one.until is not None]
    if not ends:
        return
    until = f"{min(ends):%Y-%m-%d}"
    if min(ends) - now < SOON:
        yield fail(PARTS, f"what webhook pods serve ends {until}, and should be made anew: see the sweep", docs=docs)
    elif len(ends) == len(shown):
        yield ok(PARTS, f"the caBundle trusts what each webhook pod serves, until {until}")


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text)
    except ValueError:
        return b""
