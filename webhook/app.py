"""The Flask application: four admission paths and two probes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from flask import Flask, Response, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException

from issuer_job import log
from issuer_job.cluster.api import Cluster
from issuer_job.cluster.transport import HttpTransport
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.launcher import Launcher
from issuer_job.launch.room import Room
from issuer_job.launch.turns import Turns
from webhook.admission import Admission, HearsLosses
from webhook.bounded_calls import CanLaunch, Foresees, KnowsIssuers
from webhook.bounded_log import BoundedLog
from webhook.decide_ingress import IngressPolicy
from webhook.decide_loss import LossPolicy
from webhook.decide_secret import SecretPolicy
from webhook.door import Door, KnownPaths, configured_paths
from webhook.fair_pool import THREADS
from webhook.foresight import Foresight
from webhook.losses import Losses
from webhook.memory import NoMemory, ReviewMemory
from webhook.metrics import BAD_REQUEST, NO_ROOM, WebhookMetrics
from webhook.policy import AdmissionPolicy
from webhook.readiness import Readiness
from webhook.review import MAX_BODY, BadRequest, too_large
from webhook.scraping import port_from_environment
from webhook.serving_certificate import serving

CONNECTIONS = 2 * THREADS
"""Kept to the API server."""
SETTINGS_TIMEOUT = 2.0
"""Seconds for one request that reads issuers or the PodTemplate; launches have their own deadline."""

POLICIES: Mapping[str, AdmissionPolicy] = {
    "/mutate/annotated": IngressPolicy(namespace_enabled=False),
    "/mutate/namespace": IngressPolicy(namespace_enabled=True),
    "/mutate/request": SecretPolicy(),
    "/mutate/lost": LossPolicy(),
}
"""By the path, less its token, to which the API server sends what its webhook configuration selects."""


@dataclass(frozen=True)
class Parts:
    """What the application acts through. `reachable` tells whether the API server answers."""

    launcher: CanLaunch
    foresight: Foresees
    settings: KnowsIssuers
    losses: HearsLosses
    paths: KnownPaths
    reachable: Callable[[], bool]

    @classmethod
    def of(cls, cluster: Cluster) -> Parts:
        """The real ones, on a cluster. Raises nothing: the API server is asked later."""
        settings = SettingsCache(cluster)
        settings.keep_fresh()
        room = Room(settings)
        turns = Turns(cluster, Launcher(cluster, settings, room=room), room)
        turns.keep_on()
        paths = KnownPaths(partial(configured_paths, cluster))
        paths.keep_fresh()
        return cls(
            turns,
            Foresight(cluster, settings, room),
            settings,
            Losses(cluster, settings, turns),
            paths,
            cluster.ready,
        )


def create_app(parts: Parts | None = None, metrics: WebhookMetrics | None = None) -> Flask:
    """The application; without parts, for the cluster it runs in. Raises KubeError outside of any cluster."""
    metrics = metrics or WebhookMetrics(lambda: serving().not_after())
    if parts is None:
        parts = Parts.of(Cluster(HttpTransport(connections=CONNECTIONS), timeout=SETTINGS_TIMEOUT))
        metrics.serve(port_from_environment())
    admission = Admission(parts.launcher, parts.foresight, parts.settings, parts.losses, metrics)
    memory, lines = ReviewMemory(), BoundedLog()
    readiness = Readiness(lambda: parts.paths.read() and parts.reachable())
    app = Flask(__name__, static_folder=None)
    app.wsgi_app = Door(app.wsgi_app, parts.paths)  # type: ignore[method-assign]

    for path, policy in POLICIES.items():
        handle = partial(_answered, admission, policy, memory, lines, metrics)
        app.add_url_rule(path, path, metrics.timed(path.rpartition("/")[2], handle), methods=["POST"])

    @app.get("/livez")
    def livez() -> Response:
        return _text(200, "ok")

    @app.get("/readyz")
    def readyz() -> Response:
        return _text(200, "ok") if readiness.ready() else _text(503, "not ready")

    @app.errorhandler(HTTPException)
    def refused(problem: HTTPException) -> Response:
        answer = _text(problem.code or 500, problem.description or problem.name)
        for name, value in problem.get_headers():
            if name.lower() == "allow":
                answer.headers["Allow"] = value
        return answer

    return app


def _answered(
    admission: Admission, policy: AdmissionPolicy, memory: ReviewMemory, lines: BoundedLog, metrics: WebhookMetrics
) -> Response:
    started = time.monotonic()
    try:
        with memory.taken(_size()):
            timeout = request.args.get("timeout", "")
            answer = admission.admit(_read_body(), policy, timeout=timeout, started=started)
    except NoMemory:
        metrics.answered(NO_ROOM)
        lines.say(log.warning, "no-room", problem="too many large reviews at once")
        return _text(503, "Too many large reviews at once.")
    except BadRequest as problem:
        metrics.answered(BAD_REQUEST)
        lines.say(log.warning, "bad-request", status=problem.status, problem=str(problem))
        return _text(problem.status, str(problem))
    return Response(answer, mimetype="application/json")


def _size() -> int:
    """Bytes of the body, or the most that there can be."""
    if request.mimetype != "application/json":
        raise BadRequest(415, "The content type must be application/json.")
    size = MAX_BODY if request.content_length is None else request.content_length
    if size > MAX_BODY:
        raise too_large()
    return size


def _read_body() -> bytes:
    """The body, or enough of it for `parse` to see that it is too large."""
    try:
        return request.stream.read(MAX_BODY + 1)
    except (OSError, ParseException) as problem:  # cut off, or chunks that are none
        raise BadRequest(400, f"The body did not come: {type(problem).__name__}.") from None


def _text(status: int, line: str) -> Response:
    return Response(line + "\n", status, mimetype="text/plain")
