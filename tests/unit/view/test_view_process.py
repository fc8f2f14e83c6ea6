"""The view's process: metrics and page from one snapshot, and the page for this machine alone."""

from __future__ import annotations

import socket
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS
from tests.fakes.api import FakeApi
from tests.worlds.cli import eventually
from tests.worlds.page import issuer_objects, member
from tests.worlds.view_process import running

pytestmark = pytest.mark.process


def test_metrics_and_page_are_of_one_snapshot_and_the_page_is_at_loopback_only() -> None:
    api = FakeApi()
    for body in (*issuer_objects(), member(7), member(8)):
        api.add(CONFIGMAPS, v.NAMESPACE, body)
    with running(api) as view:
        assert 'certjob_certificate_ready{namespace="team-7"' in view.get(view.metrics, "/metrics")
        assert "team-7/" in view.get(view.page, "/certificates")
        api.add(CONFIGMAPS, v.NAMESPACE, member(9))
        eventually(lambda: "site-9-tls" in view.get(view.page, "/certificates"))

        for address in ("127.0.0.2", socket.gethostbyname(socket.gethostname())):
            if address != "127.0.0.1":
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((address, view.page), timeout=5).close()
        with pytest.raises(HTTPError, match="421"):
            urlopen(Request(f"http://127.0.0.1:{view.page}/", headers={"Host": "evil.example"}), timeout=5)
        with pytest.raises(HTTPError, match=r"40[0-9]|414"):
            view.get(view.page, "/certificates?q=" + "x" * 9000)

        view.process.terminate()
        assert view.process.wait(10) == 0
        with pytest.raises(URLError):
            view.get(view.page, "/")
