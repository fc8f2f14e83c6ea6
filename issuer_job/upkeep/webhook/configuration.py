"""What the webhook configuration says and no manifest may: whom to trust, the way in, and what is sent there.

The way in is a capability, `/mutate/KIND/TOKEN`: the API server has no other credential to show, and the webhook
lets nobody in who does not know it. The manifest leaves path, caBundle and rules out, so that no apply wipes them; an
entry without rules is sent nothing, so that nobody waits for a webhook that is not there yet.

0.1.0 had a configuration of another name, with paths that everybody knows. It does its work until every pod knows
better, and is sent nothing from then on; it stays, as a way back.
"""

from __future__ import annotations

import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import datetime

from certs import authority
from certs.errors import CertError
from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.cluster import changes
from issuer_job.cluster.api import MUTATING_WEBHOOKS, Cluster, Json, KubeError

TOKEN_BYTES = 32

_INGRESSES = ("networking.k8s.io", "ingresses", "CREATE", "UPDATE")
SENT: Mapping[str, tuple[str, str, str, str]] = {
    "annotated": _INGRESSES,
    "namespace": _INGRESSES,
    "request": ("", "secrets", "CREATE", "UPDATE"),
    "lost": ("", "secrets", "UPDATE", "DELETE"),
}
"""By the kind of a path, with which an entry's name begins: group and resource that are sent, and the operations."""


def fill_in(cluster: Cluster, ca_pem: bytes, *, now: datetime, alone: bool = False) -> Json:
    """Trust the CA, beside those that are there and have not expired unless `alone`; a CA that was not there before
    comes with new paths. The configuration as stored.

    Raises KubeError.
    """

    def filled(configuration: Json) -> None:
        for entry in configuration["webhooks"]:
            client, kind = entry["clientConfig"], entry["name"].partition(".")[0]
            is_new = _first(client) != ca_pem
            _trust(client, ca_pem, now=now, alone=alone)
            if kind not in SENT:
                continue  # an operator's own
            service = client["service"]
            if is_new or not _is_secret(service.get("path", ""), kind):
                service["path"] = f"/mutate/{kind}/{secrets.token_hex(TOKEN_BYTES)}"

    held = cluster.get(MUTATING_WEBHOOKS, None, v.WEBHOOK_CONFIGURATION)
    return _changed(cluster, v.WEBHOOK_CONFIGURATION, held, filled)


def send(cluster: Cluster, held: Json, *, opening: Callable[[], None] = lambda: None) -> Json:
    """Entries of the configuration that are sent nothing get their rules; `opening` is called before if none is sent
    anything. The configuration as stored.

    Raises KubeError.
    """

    def ruled(configuration: Json) -> None:
        for entry in configuration["webhooks"]:
            kind = entry["name"].partition(".")[0]
            if kind in SENT and not entry.get("rules"):
                entry["rules"] = [_rule(*SENT[kind])]

    if not sends(held):
        opening()
    return _changed(cluster, v.WEBHOOK_CONFIGURATION, held, ruled)


def former(cluster: Cluster, ca_pem: bytes, *, now: datetime) -> Json | None:
    """The configuration of 0.1.0, if there is one, which is kept ready for work. Raises KubeError."""

    def trusting(configuration: Json) -> None:
        for entry in configuration["webhooks"]:
            _trust(entry["clientConfig"], ca_pem, now=now)

    held = cluster.find(MUTATING_WEBHOOKS, None, v.FORMER_WEBHOOK_CONFIGURATION)
    return None if held is None else _changed(cluster, v.FORMER_WEBHOOK_CONFIGURATION, held, trusting)


def retire_former(cluster: Cluster, former: Json) -> None:
    """It is sent nothing any more; an apply of its own manifest would bring it back. Raises KubeError."""

    def without_rules(configuration: Json) -> None:
        for entry in configuration["webhooks"]:
            entry.pop("rules", None)

    _changed(cluster, v.FORMER_WEBHOOK_CONFIGURATION, former, without_rules)


def sends(configuration: Json | None) -> bool:
    """Whether its webhooks are sent anything."""
    return configuration is not None and any(entry.get("rules") for entry in configuration["webhooks"])


def trusts_others(configuration: Json, ca_pem: bytes) -> bool:
    """Whether a caBundle has another CA than this one."""
    return any(_bundle(entry["clientConfig"]) != ca_pem for entry in configuration["webhooks"])


def a_path(configuration: Json) -> str:
    """One of the paths that were filled in."""
    for entry in configuration["webhooks"]:
        path: str = (entry["clientConfig"].get("service") or {}).get("path", "")
        if entry["name"].partition(".")[0] in SENT and path:
            return path
    return "/"


def _changed(cluster: Cluster, name: str, held: Json, edit: Callable[[Json], None]) -> Json:
    def edited(configuration: Json | None) -> Json:
        if configuration is None:
            raise KubeError("the webhook configuration was deleted")
        edit(configuration)
        return configuration

    what = "the webhook configuration"
    done = changes.change(cluster, MUTATING_WEBHOOKS, None, name, edited, held=held, what=what)
    if done.written:
        log.info("webhook-configuration", configuration=name)
    return done.after


def _trust(client: Json, ca_pem: bytes, *, now: datetime, alone: bool = False) -> None:
    try:
        bundle = authority.bundle(ca_pem, b"" if alone else _bundle(client), now=now)
    except CertError:
        bundle = authority.bundle(ca_pem, now=now)  # somebody put something unreadable there
    client["caBundle"] = b64encode(bundle).decode()


def _bundle(client: Json) -> bytes:
    try:
        return b64decode(client.get("caBundle") or "")
    except ValueError:
        return b""


def _first(client: Json) -> bytes:
    """The CA that a caBundle begins with: the one that was filled in last."""
    head, end, _ = _bundle(client).partition(b"-----END CERTIFICATE-----\n")
    return head + end


def _is_secret(path: str, kind: str) -> bool:
    return re.fullmatch(rf"/mutate/{kind}/[0-9a-f]{{{2 * TOKEN_BYTES}}}", path) is not None


def _rule(group: str, resource: str, *operations: str) -> Json:
    return {
        "apiGroups": [group],
        "apiVersions": ["v1"],
        "operations": list(operations),
        "resources": [resource],
        "scope": "Namespaced",
    }
