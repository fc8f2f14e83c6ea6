"""Admissions at a steady rate, through the API server, and what their users saw of them."""

from __future__ import annotations

import http.client
import json
import ssl
import statistics
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

from issuer_job import vocabulary as v
from issuer_job.cluster.api import MUTATING_WEBHOOKS, Json
from tests.e2e.api import INGRESSES, admin, path
from tests.e2e.observe import cluster, ingress, webhook_path
from tests.load.bench import SERVICES, review_of
from tests.load.faults.report import Report

THREADS = 48


@dataclass
class Admissions:
    """Rehearsed creates of an Ingress without `tls`, `rate` a second until the block ends; each counts from its due
    moment. `refused`: the API server said no; `missed`: admitted as written, because the webhook did not answer.
    """

    space: str
    rate: float
    times: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    missed: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._api = admin()[1]
        self._pool = ThreadPoolExecutor(THREADS)
        self._driver = threading.Thread(target=self._drive, daemon=True)
        self._driver.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._driver.join()
        self._pool.shutdown()
        self._api.close()

    def judge(self, report: Report, *, slowest: float | None = None, missed: int | None = None) -> None:
        """0 refused, none slower than `slowest` seconds (None: the webhook's timeout, and half a second to go on)."""
        configuration = cluster().get(MUTATING_WEBHOOKS, None, v.WEBHOOK_CONFIGURATION)
        timeout = max(webhook["timeoutSeconds"] for webhook in configuration["webhooks"])
        done = sorted(self.times)
        p50, p99 = statistics.median(done), done[int(len(done) * 0.99) - 1]
        report.note(f"{len(done)} admissions at {self.rate:g}/s: p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms")
        report.exactly("refused", len(self.refused), 0)
        for text in self.refused[:3]:
            report.note(text)
        report.most("slowest", round(done[-1], 2), timeout + 0.5 if slowest is None else slowest, " s")
        if missed is None:
            report.note(f"missed by the webhook, left to the sweep: {self.missed}")
        else:
            report.most("missed by the webhook", self.missed, missed)

    def p99(self) -> float:
        """In seconds."""
        return sorted(self.times)[int(len(self.times) * 0.99) - 1]

    def _drive(self) -> None:
        start, number, under_way = time.monotonic(), 0, list[Future[None]]()
        while not self._stop.wait(max(start + number / self.rate - time.monotonic(), 0)):
            under_way.append(self._pool.submit(self._one, number, start + number / self.rate))
            number += 1
        for one in under_way:
            one.result()

    def _one(self, number: int, due: float) -> None:
        body = ingress(f"rehearsed{number}", [f"rehearsed{number}.{self.space}.certjob.test"], bare=True)
        try:
            answer = self._api.call("POST", path(INGRESSES, self.space), body, dryRun="All")
        except (OSError, http.client.HTTPException) as problem:
            self.refused.append(f"{type(problem).__name__}: {problem}")
            return
        self.times.append(time.monotonic() - due)
        if answer.status != 201:
            self.refused.append(str(answer)[:200])
        elif not json.loads(answer.text)["spec"].get("tls"):
            self.missed += 1


@dataclass
class Reviews(Admissions):
    """The same of an issued Ingress that is applied again, sent to the webhook's Service as the API server sends it:
    over kept connections; one that was closed meanwhile is no failure yet.
    """

    stored: Json = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._idle: list[http.client.HTTPSConnection] = []
        self._tls = ssl.create_default_context()
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._address = cluster().get(SERVICES, v.NAMESPACE, v.WEBHOOK_SERVICE)["spec"]["clusterIP"]
        self._path = webhook_path("annotated")
        return super().__enter__()

    def _one(self, number: int, due: float) -> None:
        body = json.dumps(review_of(self.stored))
        for kept in (True, False):
            connection = self._idle.pop() if kept and self._idle else self._new()
            try:
                connection.request("POST", f"{self._path}?timeout=5s", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                reply = json.loads(answer.read())
            except (OSError, http.client.HTTPException):
                connection.close()
                continue
            self._idle.append(connection)
            self.times.append(time.monotonic() - due)
            if answer.status != 200 or not reply["response"]["allowed"]:
                self.refused.append(f"{answer.status} {reply}"[:200])
            return
        self.missed += 1  # the API server goes on without the webhook

    def _new(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._address, 443, context=self._tls, timeout=5)
