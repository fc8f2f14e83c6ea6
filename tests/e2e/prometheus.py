"""A real Prometheus in the cluster's network, configured as docs/monitoring.md says, with all the alerts."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import yaml

from issuer_job import vocabulary as v
from issuer_job.cluster.api import KubeError
from tests.e2e.api import wait_for
from tests.e2e.observe import PODS, cluster
from tests.e2e.peers.server import free_port
from tests.worlds.documents import ROOT
from tests.worlds.prometheus import groups, program

PAGE = ROOT / "docs" / "monitoring.md"


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    address: str

    def ask(self, path: str, **query: str) -> Any:
        """The answer's data. Raises OSError."""
        url = f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression is now, by series."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def firing(self, alert: str, **labels: str) -> bool:
        """Whether an alert with at least these labels fires."""
        return any(
            one["state"] == "firing" and one["labels"].items() >= {"alertname": alert, **labels}.items()
            for one in self.ask("alerts")["alerts"]
        )

    def wait_firing(self, alert: str, *, seconds: float = 150, **labels: str) -> None:
        wait_for(lambda: self.firing(alert, **labels), what=f"{alert} {labels} fires", seconds=seconds)

    def wait_quiet(self, alert: str, *, seconds: float = 150, **labels: str) -> None:
        wait_for(lambda: not self.firing(alert, **labels), what=f"{alert} {labels} is over", seconds=seconds)

    @property
    def targets(self) -> dict[str, str]:
        """Health of what is scraped, by its URL."""
        return {one["scrapeUrl"]: one["health"] for one in self.ask("targets", state="active")["activeTargets"]}


def documented() -> dict[str, Any]:
    """The configuration on the page."""
    [block] = re.findall(r"^```yaml\n(scrape_configs:.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    found: dict[str, Any] = yaml.safe_load(block)
    return found


def hurried() -> list[dict[str, Any]]:
    """The rules, which wait for nothing: that they wait as long as they say is promtool's to see."""
    return [
        group | {"rules": [{k: x for k, x in rule.items() if k != "for"} for rule in group["rules"]]}
        for group in groups()
    ]


def discovered() -> list[dict[str, Any]]:
    """Each port of certjob's pods, with the labels that Prometheus' own discovery gives it."""
    found = []
    for pod in cluster().items(PODS, v.NAMESPACE, labels=f"{v.APP_NAME}=certjob"):
        address, labels = pod.get("status", {}).get("podIP"), pod["metadata"]["labels"]
        if not address or pod["status"]["phase"] != "Running":
            continue
        meta = {f"pod_label_{re.sub('[^a-zA-Z0-9]', '_', name)}": value for name, value in labels.items()}
        meta["pod_name"] = pod["metadata"]["name"]
        for container in pod["spec"]["containers"]:
            for port in container.get("ports") or ():
                told = {**meta, "pod_container_port_name": port["name"]}
                at = {"targets": [f"{address}:{port['containerPort']}"]}
                found.append(at | {"labels": {f"__meta_kubernetes_{name}": value for name, value in told.items()}})
    return found


@contextmanager
def pods_written(file: Path) -> Iterator[None]:
    """Meanwhile the file says which pods there are."""
    over = Event()

    def write() -> None:
        with suppress(KubeError):
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps(discovered()))
            partial.replace(file)

    def keep() -> None:
        while not over.wait(1):
            write()

    write()
    keeper = Thread(target=keep)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


@contextmanager
def prometheus(directory: Path) -> Iterator[Prometheus]:
    """One that scrapes certjob each second."""
    (directory / "rules.yaml").write_text(yaml.safe_dump({"groups": hurried()}))
    config = documented() | {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
    }
    # Debian's has no discovery of pods: it reads from a file what that would say.
    [scraped] = config["scrape_configs"]
    del scraped["kubernetes_sd_configs"]
    scraped["file_sd_configs"] = [{"files": ["pods.json"]}]
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command: list[str | Path] = [
        program("prometheus"),
        f"--config.file={directory / 'prometheus.yaml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    with (
        pods_written(directory / "pods.json"),
        (directory / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as running,
    ):
        try:
            made = Prometheus(f"http://{address}")

            def is_ready() -> bool:
                assert running.poll() is None, (directory / "log").read_text()
                try:
                    return bool(made.targets)
                except OSError:
                    return False

            wait_for(is_ready, what="Prometheus runs")
            yield made
        finally:
            running.terminate()
