"""The view's process: `python -m webhook.view`.

Environment: CERTJOB_METRICS_PORT (default 9402), CERTJOB_VIEW_CERTIFICATES (with more, only pressing certificates are
told one by one; default 20000), CERTJOB_LOG (json or text). Writes nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from threading import Event

from issuer_job import log, names
from issuer_job.cluster.api import Cluster, KubeError
from issuer_job.cluster.transport import HttpTransport
from issuer_job.metrics.exposition import CONTENT_TYPE, Exposition
from issuer_job.polling import utc_now
from webhook.scraping import NOT_READY, OK, ScrapeServer, ServedPage, kept, port_from_environment
from webhook.view.metrics import MOST_SERIES, gauges
from webhook.view.snapshot import Snapshot


def main() -> int:
    """Until SIGTERM or SIGINT."""
    log.configure(os.environ.get("CERTJOB_LOG", "json"))
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        cluster = Cluster(HttpTransport())
    except KubeError as problem:
        log.error("api-server", problem=str(problem))
        return 1
    exposition = Exposition()
    snapshot = Snapshot(cluster, exposition)
    most = names.number(os.environ.get("CERTJOB_VIEW_CERTIFICATES", ""), default=MOST_SERIES)
    exposition.gauges(lambda: gauges(snapshot, now=utc_now(), most=most))
    server = scrape_server(snapshot, exposition, port=port_from_environment())
    snapshot.start()
    server.start()
    log.info("view-started", port=server.port)
    stop.wait()
    log.info("view-stopped")
    return 0


def scrape_server(snapshot: Snapshot, exposition: Exposition, *, port: int) -> ScrapeServer:
    """What the port answers; nothing before everything was listed: a zero is never an unknown."""

    def metrics() -> ServedPage:
        return ServedPage(200, exposition.text(), CONTENT_TYPE) if snapshot.is_complete() else NOT_READY

    def live() -> ServedPage:
        return OK if snapshot.alive() else NOT_READY

    def ready() -> ServedPage:
        return OK if snapshot.alive() and snapshot.is_complete() else NOT_READY

    return ScrapeServer({"/metrics": kept(metrics), "/livez": live, "/readyz": ready}, port=port)


if __name__ == "__main__":
    sys.exit(main())
