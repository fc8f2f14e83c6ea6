"""The view's process: `python -m webhook.view`.

Environment: CERTJOB_METRICS_PORT (default 9402), CERTJOB_VIEW_CERTIFICATES (with more, only pressing certificates are
told one by one; default 20000), CERTJOB_PAGE_PORT (at 127.0.0.1, default 8080), CERTJOB_PAGE_HOSTS (names, separated
by commas, that the page may be called by besides localhost), CERTJOB_LOG (json or text). Writes nothing but an
unlinked file in /dev/shm or /tmp.
"""

from __future__ import annotations

import os
import sys

from issuer_job import log, names
from issuer_job.cluster.api import Cluster, KubeError
from issuer_job.cluster.transport import HttpTransport
from issuer_job.metrics.exposition import CONTENT_TYPE, Exposition
from issuer_job.polling import utc_now
from webhook.scraping import NOT_READY, OK, ScrapeServer, ServedPage, kept, port_from_environment
from webhook.view.metrics import MOST_SERIES, gauges
from webhook.view.page.app import create_page
from webhook.view.page.from_snapshot import SnapshotSource
from webhook.view.page.server import PORT, PageServer
from webhook.view.snapshot import Snapshot


def main() -> int:
    """Until SIGTERM or SIGINT."""
    log.configure(os.environ.get("CERTJOB_LOG", "json"))
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
    page = PageServer(create_page(SnapshotSource(snapshot), hosts=_page_hosts()), port=_page_port())
    snapshot.start()
    server.start()
    log.info("view-started", port=server.port, page=page.port)
    page.run()
    log.info("view-stopped")
    return 0


def _page_hosts() -> list[str]:
    return [name.strip() for name in os.environ.get("CERTJOB_PAGE_HOSTS", "").split(",") if name.strip()]


def _page_port() -> int:
    return names.number(os.environ.get("CERTJOB_PAGE_PORT", ""), default=PORT)


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
