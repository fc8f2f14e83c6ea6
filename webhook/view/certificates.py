"""The records as rows, and what is new in their stories."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from threading import Lock

from issuer_job import log, names
from issuer_job.cluster.api import Json
from issuer_job.issuers.load import Issuers
from issuer_job.record.record import Record
from issuer_job.status.shown import CertificateStatus
from issuer_job.status.status import status, unreadable
from webhook.view.history import Told, keys_of, told_by
from webhook.view.packing import unpack
from webhook.view.rows import CertificateRow, read_row

CLOCKS = timedelta(seconds=60)
"""By which the clocks of nodes may differ."""


class Certificates:
    """A keeper of records, see `cluster.following`. Thread-safe.

    What is in the first list was told before, as far as anybody watched; so was what is older than the view.
    """

    def __init__(
        self,
        tell: Callable[[Told], None],
        *,
        interval: Callable[[], timedelta],
        clock: Callable[[], datetime],
    ) -> None:
        self._tell, self._interval, self._clock = tell, interval, clock
        self._since = clock() - CLOCKS
        self._listed = False
        self._lock = Lock()
        self._rows: dict[str, CertificateRow] = {}
        self._packed: dict[str, bytes | str] = {}
        """By name of the ConfigMap, as the rows: the record, or why it cannot be read."""
        self._seen: dict[str, tuple[int, ...]] = {}
        """By name of the ConfigMap. Of quiet records it is empty, and one."""

    def rows(self) -> list[CertificateRow]:
        """As they are now."""
        with self._lock:
            return list(self._rows.values())

    def find(self, namespace: str, secret_name: str) -> CertificateRow | None:
        """The one that is in that Secret."""
        with self._lock:
            return self._rows.get(names.record(namespace, secret_name))

    def status(self, row: CertificateRow, *, now: datetime, issuers: Issuers) -> CertificateStatus | None:
        """All that is to be said of it; None if it is gone by now."""
        name = names.record(row.namespace, row.name)
        with self._lock:
            held = self._packed.get(name)
        if held is None or isinstance(held, str):
            return None if held is None else unreadable(name, held)
        try:
            return status(unpack(held), now=now, interval=self._interval(), issuers=issuers)
        except Exception as problem:  # noqa: BLE001 - a calendar ends while the certificate is known
            return unreadable(name, str(problem))

    def replace(self, objects: Iterable[Json]) -> None:
        """See Keeper."""
        rows: dict[str, CertificateRow] = {}
        packed: dict[str, bytes | str] = {}
        for config_map in objects:
            name = config_map["metadata"]["name"]
            rows[name], packed[name] = self._read(config_map)
        with self._lock:
            self._rows, self._packed = rows, packed
        self._seen = {name: keys for name, keys in self._seen.items() if name in rows}
        self._listed = True

    def put(self, changed: Json) -> None:
        """See Keeper."""
        name, (row, packed) = changed["metadata"]["name"], self._read(changed)
        with self._lock:
            self._rows[name], self._packed[name] = row, packed

    def drop(self, gone: Json) -> None:
        """See Keeper."""
        name = gone["metadata"]["name"]
        with self._lock:
            self._rows.pop(name, None)
            self._packed.pop(name, None)
        self._seen.pop(name, None)

    def _read(self, config_map: Json) -> tuple[CertificateRow, bytes | str]:
        name, former = config_map["metadata"]["name"], self._rows.get(config_map["metadata"]["name"])
        found = read_row(config_map, now=self._clock(), interval=self._interval())
        if found.record is not None:
            self._listen(name, found.record)
        elif former is None or former.known:  # said once, however often it is written
            log.warning("record-unreadable", record=name, problem=found.packed)
        return found.row, found.packed

    def _listen(self, name: str, record: Record) -> None:
        if self._listed:
            for told in told_by(record, self._seen.get(name, ()), self._since):
                self._tell(told)
        keys = keys_of(record, self._since)
        if keys:
            self._seen[name] = keys
