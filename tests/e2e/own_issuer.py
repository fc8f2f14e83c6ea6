"""An issuer of one test, with the operator's commands and all that its account leaves."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.checks.command import check_now, roll_over_now
from issuer_job.checks.launch import find_issuer
from issuer_job.cluster.api import CONFIGMAPS, SECRETS, Json
from issuer_job.issuers.state import IssuerState
from tests.observe import cluster

DIRECTORY = os.environ.get("CERTJOB_PEBBLE_DIRECTORY", "")


def ca_pem() -> bytes:
    return Path(os.environ["CERTJOB_PEBBLE_CA"]).read_bytes()


@dataclass
class OwnIssuer:
    """An issuer of one test; `said` is what the commands have printed."""

    name: str
    said: list[str] = field(default_factory=list)

    def apply(self, *, check: str = "never", **fields: object) -> None:
        document = {"server": DIRECTORY, "caBundle": ca_pem().decode(), "privateNames": True, **fields}
        metadata: Json = {"name": self.name, "namespace": v.NAMESPACE, "labels": {v.ISSUER: "true"}}
        metadata["annotations"] = {v.CHECK: check}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        body["data"] = {v.ISSUER_KEY: json.dumps({k: x for k, x in document.items() if x is not None})}
        cluster().delete(CONFIGMAPS, v.NAMESPACE, self.name)
        cluster().create(CONFIGMAPS, v.NAMESPACE, body)

    def credentials(self, keys: dict[str, bytes]) -> None:
        create_secret(v.NAMESPACE, names.credentials(self.name), keys)

    def check(self) -> v.ExitCode:
        return check_now(cluster(), self.name, clock=lambda: datetime.now(UTC), say=self.said.append)

    def roll_over(self) -> v.ExitCode:
        return roll_over_now(cluster(), self.name, clock=lambda: datetime.now(UTC), say=self.said.append)

    @property
    def state(self) -> IssuerState:
        found = find_issuer(cluster(), self.name)
        assert found is not None
        return found.state

    def clean_up(self) -> None:
        cluster().delete(CONFIGMAPS, v.NAMESPACE, self.name)
        cluster().delete(SECRETS, v.NAMESPACE, names.credentials(self.name))
        for config_map in list(cluster().items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.ISSUER_STATE}=true")):
            if config_map["metadata"]["name"].startswith(f"issuer-state-{self.name}-"):
                cluster().delete(CONFIGMAPS, v.NAMESPACE, config_map["metadata"]["name"])
        for secret in list(cluster().items(SECRETS, v.NAMESPACE, labels=f"{v.ACCOUNT}=true")):
            if secret["metadata"]["name"].startswith(f"account-{self.name}-"):
                cluster().delete(SECRETS, v.NAMESPACE, secret["metadata"]["name"])


def create_secret(namespace: str, name: str, keys: dict[str, bytes]) -> None:
    data = {key: b64encode(value).decode() for key, value in keys.items()}
    body: Json = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}}
    cluster().create(SECRETS, namespace, body | {"data": data})
