"""The records as rows, and what is new in their stories."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from threading import Lock

from issuer_job.cluster.api import Json
from issuer_job.record.record import Record
from webhook.view.history import Told, keys_of, told_by
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
        self._seen: dict[str, tuple[int, ...]] = {}
        """By name of the ConfigMap. Of quiet records it is empty, and one."""

    def rows(self) -> list[CertificateRow]:
        """As they are now."""
        with self._lock:
            return list(self._rows.values())

    def replace(self, objects: Iterable[Json]) -> None:
        """See Keeper."""
        rows: dict[str, CertificateRow] = {}
        for config_map in objects:
            rows[config_map["metadata"]["name"]] = self._read(config_map)
        with self._lock:
            self._rows = rows
        self._seen = {name: keys for name, keys in self._seen.items() if name in rows}
        self._listed = True

    def put(self, changed: Json) -> None:
        """See Keeper."""
        row = self._read(changed)
        with self._lock:
            self._rows[changed["metadata"]["name"]] = row

    def drop(self, gone: Json) -> None:
        """See Keeper."""
        name = gone["metadata"]["name"]
        with self._lock:
            self._rows.pop(name, None)
        self._seen.pop(name, None)

    def _read(self, config_map: Json) -> CertificateRow:
        row, record = read_row(config_map, now=self._clock(), interval=self._interval())
        if record is not None:
            self._listen(config_map["metadata"]["name"], record)
        return row

    def _listen(self, name: str, record: Record) -> None:
        if self._listed:
            for told in told_by(record, self._seen.get(name, ()), self._since):
                self._tell(told)
        keys = keys_of(record, self._since)
        if keys:
            self._seen[name] = keys
