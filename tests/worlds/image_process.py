"""Run by `tests.worlds.image` in an interpreter of its own: imports all that an image's processes can, and works.

Arguments: "job" or "webhook", and the directory that has `app` (with `lib`) and `tests`; writes `report.json` there.
Every import statement that the processes can reach counts, also those in functions, and each of lexicon's
providers, which are imported by name. Then the processes do their work once, as libraries import while they are used.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError

if TYPE_CHECKING:
    from issuer_job.cluster.api import Transport

PATIENCE = 10.0


def main(kind: str, scratch: Path) -> None:
    """See above."""
    app, lib, work = scratch / "app", scratch / "app/lib", scratch / "work"
    sys.path[:0] = [str(app), str(lib)]
    work.mkdir()
    os.environ["KUBECONFIG"] = str(work / "kubeconfig")
    roots = (
        ["issuer_job.__main__"] if kind == "job" else [_module(file, app) for file in app.rglob("webhook/**/*.py")]
    )
    modules, missing = _imported(roots, app)
    if kind == "job":
        missing |= _missing_providers()
    sys.path.append(str(scratch / "tests"))
    {"job": _job, "webhook": _webhook}[kind](work)
    files = [getattr(module, "__file__", None) or "" for module in sys.modules.values()]
    libraries = {
        Path(file).relative_to(lib).parts[0].partition(".")[0] for file in files if file.startswith(f"{lib}/")
    }
    report = {"missing": missing, "libraries": sorted(libraries), "modules": sorted(modules)}
    (scratch / "report.json").write_text(json.dumps(report))


def _imported(roots: list[str], app: Path) -> tuple[set[str], dict[str, str]]:
    """The product's modules that these reach, all imported with what they name, and why others could not be."""
    missing: dict[str, str] = {}
    reached: set[str] = set()
    pending = list(roots)
    while pending:
        wanted = pending.pop()
        if wanted not in reached and wanted not in missing:
            try:
                importlib.import_module(wanted)
            except ImportError as problem:
                missing[wanted] = str(problem)
                continue
            path = app / wanted.replace(".", "/")
            path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            reached.add(wanted)
            if path.is_file():
                pending += _statements(path)
    return {name for name in reached if (app / name.partition(".")[0]).is_dir()}, missing


def _statements(path: Path) -> Iterator[str]:
    """The modules that a file's import statements name, but those for type checkers only."""
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if _is_module(node.module, alias.name))
        pending += ast.iter_child_nodes(node)


def _module(file: Path, app: Path) -> str:
    return ".".join(file.relative_to(app).with_suffix("").parts)


def _is_module(package: str, name: str) -> bool:
    """Whether `from package import name` names a module; also if the package itself cannot be imported."""
    try:
        return not hasattr(importlib.import_module(package), name)
    except ImportError:
        return False


def _missing_providers() -> dict[str, str]:
    package = importlib.import_module("lexicon._private.providers")
    names = [f"{package.__name__}.{name}" for _, name, _ in pkgutil.iter_modules(package.__path__)]
    return _imported(names, Path("/none"))[1]


def _webhook(work: Path) -> None:
    """Load the application as gunicorn does, be ready, admit an Ingress with all that belongs to it."""
    from datetime import UTC, datetime

    from gunicorn.app.wsgiapp import WSGIApplication

    from certs.authority import make_authority
    from issuer_job import vocabulary as v
    from issuer_job.cluster import transport
    from issuer_job.cluster.api import CONFIGMAPS, JOBS, MUTATING_WEBHOOKS, POD_TEMPLATES, SECRETS, KubeError
    from tests.fakes.api_server import served_api
    from tests.fakes.policies import FakePolicies
    from tests.fakes.webhook_parts import ANNOTATED, configuration
    from tests.worlds.reviews import ingress, review
    from webhook.app import create_app

    with served_api() as server:
        transport.SERVICE_ACCOUNT = server.service_account(work / "account")
        os.environ.update(server.environment, CERTJOB_TLS_DIR=str(work), CERTJOB_METRICS_PORT="0")
        server.api.hooks["secrets"] = FakePolicies().secrets
        server.api.add(MUTATING_WEBHOOKS, None, configuration())
        issuer = {"name": "ca", "labels": {v.ISSUER: "true"}, "annotations": {v.DEFAULT_ISSUER: "true"}}
        data = {v.ISSUER_KEY: "server: https://ca.certjob.dev/directory\n"}
        server.api.add(CONFIGMAPS, v.NAMESPACE, {"metadata": issuer, "data": data})
        spec = {"containers": [{"name": "issue", "image": "certjob-job"}], "volumes": []}
        template = {"metadata": {"name": v.POD_TEMPLATE}, "template": {"spec": spec}}
        server.api.add(POD_TEMPLATES, v.NAMESPACE, template)
        authority = make_authority(now=datetime.now(UTC))
        (work / "tls.crt").write_bytes(authority.cert_chain_pems)
        (work / "tls.key").write_bytes(authority.key_pem)
        sys.argv = ["gunicorn", "-c", "python:webhook.gunicorn_conf", "webhook.app:create_app()"]
        application = WSGIApplication("%(prog)s")
        client = application.wsgi().test_client()
        assert application.cfg.worker_class.__module__ == "webhook.worker"
        assert client.get("/readyz").status_code == 200
        answer = client.post(ANNOTATED, json=review(ingress())).json["response"]
        assert answer["patch"], answer
        assert server.api.all(SECRETS, "shop"), answer
        assert server.api.all(JOBS, v.NAMESPACE), answer
        _view()
        del os.environ["KUBERNETES_SERVICE_HOST"]
        with suppress(KubeError):
            create_app()
            raise AssertionError("it found an API server outside of any cluster")


def _view() -> None:
    """Be a view until it has told what was admitted."""
    from issuer_job.cluster.api import Cluster
    from issuer_job.cluster.transport import HttpTransport
    from issuer_job.metrics.exposition import Exposition
    from issuer_job.polling import utc_now
    from webhook.view.__main__ import scrape_server
    from webhook.view.metrics import gauges
    from webhook.view.snapshot import Snapshot

    exposition = Exposition()
    snapshot = Snapshot(Cluster(HttpTransport()), exposition)
    exposition.gauges(lambda: gauges(snapshot, now=utc_now()))
    server = scrape_server(snapshot, exposition, port=0)
    snapshot.start()
    server.start()
    assert b'certjob_certificate_ready{namespace="shop"' in _fetched(f"http://127.0.0.1:{server.port}/metrics")
    snapshot.stop()


def _fetched(url: str) -> bytes:
    """As soon as it is there."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url) as answer:
                return bytes(answer.read())
        except (URLError, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def _job(work: Path) -> None:
    """Order a certificate and sweep; be a responder; run an operator's command with a kubeconfig."""
    from issuer_job.__main__ import main as program
    from issuer_job.cluster import transport
    from issuer_job.cluster.api import NAMESPACES
    from issuer_job.cluster.transport import HttpTransport
    from tests.fakes.api_server import served_api
    from tests.fakes.ca import acme_server
    from tests.worlds.job import JobWorld, assert_good_secret, ingress
    from tests.worlds.sweep import with_webhook

    with acme_server() as new_ca:
        world = JobWorld(work / "pods", *new_ca())
        world.apply(ingress())
        assert world.run() == 0
        assert_good_secret(world)
        with served_api(with_webhook(world).api) as server:
            transport.SERVICE_ACCOUNT = server.service_account(work / "account")
            os.environ.update(server.environment)
            assert program(["sweep"]) == 0
            _respond(HttpTransport())
            for name in server.environment:
                del os.environ[name]
            world.api.add(NAMESPACES, None, {"metadata": {"name": "shop"}})
            server.kubeconfig(work, token="the-operators")
            assert program(["transfer-host", "shop.certjob.dev", "shop"]) == 0
            assert server.headers[-1]["authorization"] == "Bearer the-operators"
    importlib.import_module("boto3").client("route53", region_name="us-east-1")


def _respond(transport: Transport) -> None:
    from issuer_job.cluster.api import Cluster
    from issuer_job.http01.responder import ResponderLimits, serve

    def stop_when_ready() -> None:
        with suppress(URLError, OSError):
            ready.append(_fetched(f"http://127.0.0.1:{health_port}/readyz") == b"ok")
        os.kill(os.getpid(), signal.SIGTERM)

    ready: list[bool] = []
    port, health_port = _free_port(), _free_port()
    threading.Thread(target=stop_when_ready, daemon=True).start()
    serve(Cluster(transport), port=port, health_port=health_port, limits=ResponderLimits(drain=0.0))
    assert ready == [True]


def _free_port() -> int:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
