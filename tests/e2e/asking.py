"""Secrets that ask for a certificate, applied with kubectl."""

from __future__ import annotations

import json
from typing import Any

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from tests.e2e.api import kubectl

NAME = "db-tls"


def asking(hosts: str, *, name: str = NAME, **changes: Any) -> Json:
    """A manifest. Annotations as keyword `notes`: `notes={"issuer": "x"}`."""
    notes = {f"certjob.io/{key}": value for key, value in changes.pop("notes", {}).items()}
    metadata = {
        "name": name,
        "labels": {v.REQUEST: "true", "team": "db"},
        "annotations": {v.HOSTS: hosts, "example.org/note": "mine", **notes},
    }
    return {"apiVersion": "v1", "kind": "Secret", "type": v.TLS_SECRET_TYPE, "metadata": metadata, **changes}


def send(namespace: str, body: Json, *command: str) -> str:
    """kubectl with the manifest; what it printed. An error's text is in the exception."""
    return kubectl(*(command or ("apply",)), "-n", namespace, "-f", "-", stdin=json.dumps(body))
