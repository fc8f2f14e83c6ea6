"""Route 53, whose client library comes with the image: against a small server that speaks its protocol."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.sax.saxutils import escape, unescape

import pytest

from issuer_job.dns01.providers.errors import ProviderError
from issuer_job.dns01.providers.provider import OpenZone
from issuer_job.dns01.providers.registry import open_zone
from issuer_job.issuers.schema import Dns01

NAME = "_acme-challenge.example.org"
ONE, TWO = "a" * 43, "b" * 43
NS = 'xmlns="https://route53.amazonaws.com/doc/2013-04-01/"'
ZONE = "<HostedZone><Id>/hostedzone/Z1</Id><Name>example.org.</Name><CallerReference>x</CallerReference></HostedZone>"


class FakeRoute53(ThreadingHTTPServer):
    """One hosted zone; `sets` are the values of each name. `refused`: changes are answered with an error."""

    sets: dict[str, list[str]]
    refused = False
    status = 200

    def change(self, body: str) -> tuple[int, str]:
        """ChangeResourceRecordSets: a whole set at a time."""
        action, name = (re.search(f"<{tag}>(.*?)</{tag}>", body)[1] for tag in ("Action", "Name"))  # type: ignore[index]
        values = [unescape(value, {"&quot;": '"'}) for value in re.findall(r"<Value>(.*?)</Value>", body)]
        if self.refused:
            return 400, _error("InvalidChangeBatch", "it is locked")
        if len(set(values)) < len(values):
            return 400, _error("InvalidChangeBatch", "Duplicate Resource Record")
        if action == "DELETE":
            if self.sets.get(name) != values:
                return 400, _error("InvalidChangeBatch", "not found")
            del self.sets[name]
        elif action == "CREATE" and name in self.sets:
            return 400, _error("InvalidChangeBatch", "it already exists")
        else:
            self.sets[name] = values
        info = "<Id>1</Id><Status>PENDING</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt>"
        info = f"<ChangeInfo>{info}</ChangeInfo>"
        return 200, f"<ChangeResourceRecordSetsResponse {NS}>{info}</ChangeResourceRecordSetsResponse>"

    def listed(self) -> str:
        """ListResourceRecordSets."""
        sets = ""
        for name, values in self.sets.items():
            records = "".join(f"<ResourceRecord><Value>{escape(value)}</Value></ResourceRecord>" for value in values)
            sets += (
                f"<ResourceRecordSet><Name>{name}</Name><Type>TXT</Type><TTL>60</TTL>"
                f"<ResourceRecords>{records}</ResourceRecords></ResourceRecordSet>"
            )
        end = "<IsTruncated>false</IsTruncated><MaxItems>300</MaxItems>"
        whole = f"<ResourceRecordSets>{sets}</ResourceRecordSets>{end}"
        return f"<ListResourceRecordSetsResponse {NS}>{whole}</ListResourceRecordSetsResponse>"


def _error(code: str, message: str) -> str:
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    return f"<ErrorResponse {NS}>{error}</ErrorResponse>"


class Handler(BaseHTTPRequestHandler):
    server: FakeRoute53

    def do_GET(self) -> None:
        if self.server.status != 200:
            self.answer(self.server.status, _error("AccessDenied", "not yours"))
        elif "/rrset" in self.path:
            self.answer(200, self.server.listed())
        else:
            self.answer(200, f"<GetHostedZoneResponse {NS}>{ZONE}</GetHostedZoneResponse>")

    def do_POST(self) -> None:
        self.answer(*self.server.change(self.rfile.read(int(self.headers["Content-Length"])).decode()))

    def answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def route53(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRoute53]:
    with FakeRoute53(("127.0.0.1", 0), Handler) as server:
        server.sets = {}
        monkeypatch.setenv("AWS_ENDPOINT_URL_ROUTE_53", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def opened() -> OpenZone:
    """Logged in, as a Job is."""
    keys = {"auth_access_key": b"AKIAEXAMPLE", "auth_access_secret": b"very-secret-key"}
    return open_zone(Dns01(provider="route53", options={"zone_id": "Z1"}), zone="example.org", mounted=keys.get)


def test_values_stand_side_by_side_and_go_one_by_one(route53: FakeRoute53) -> None:
    provider = opened()
    provider.add(NAME, ONE)
    provider.add(NAME, TWO)
    provider.add(NAME, TWO)
    assert route53.sets == {f"{NAME}.": [f'"{ONE}"', f'"{TWO}"']}
    provider.remove(NAME, ONE)
    assert route53.sets == {f"{NAME}.": [f'"{TWO}"']}
    provider.remove(NAME, TWO)
    assert route53.sets == {}


def test_what_is_not_there_counts_as_removed(route53: FakeRoute53) -> None:
    provider = opened()
    provider.remove(NAME, ONE)
    provider.add(NAME, TWO)
    provider.remove(NAME, ONE)
    assert route53.sets == {f"{NAME}.": [f'"{TWO}"']}


def test_a_change_that_is_refused_is_an_error(route53: FakeRoute53) -> None:
    provider = opened()
    provider.add(NAME, ONE)
    route53.refused = True
    with pytest.raises(ProviderError, match="it is locked"):
        provider.add(NAME, TWO)
    with pytest.raises(ProviderError, match="it is locked"):
        provider.remove(NAME, ONE)


def test_a_service_that_is_not_there_is_tried_again(route53: FakeRoute53, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_ROUTE_53", "http://127.0.0.1:9")
    with pytest.raises(ProviderError) as raised:
        opened()
    assert raised.value.passes


def test_refused_credentials_are_said(route53: FakeRoute53) -> None:
    route53.status = 403
    with pytest.raises(ProviderError, match="refused the credentials") as raised:
        opened()
    assert "very-secret-key" not in str(raised.value)
