"""The issuers and what is known of them, as operators and Jobs have written it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from issuer_job import names
from issuer_job.cluster.api import Json
from issuer_job.hosts.order_book import MOST_BYTES
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.state import SIGNERS, IssuerState
from issuer_job.issuers.types import directory_of
from issuer_job.status.issuer_status import IssuerStatus, issuer_status


class IssuerObjects:
    """A keeper of issuers' ConfigMaps, see `cluster.following`. Only operators write those."""

    def __init__(self) -> None:
        self._objects: dict[str, Json] = {}
        self.issuers = Issuers({}, {})

    def replace(self, objects: Iterable[Json]) -> None:
        """See Keeper."""
        self._objects = {one["metadata"]["name"]: one for one in objects}
        self.issuers = Issuers.from_config_maps(self._objects.values())

    def put(self, changed: Json) -> None:
        """See Keeper."""
        self.replace([*(self._objects | {changed["metadata"]["name"]: changed}).values()])

    def drop(self, gone: Json) -> None:
        """See Keeper."""
        self.replace([one for name, one in self._objects.items() if name != gone["metadata"]["name"]])


class IssuerStates:
    """A keeper of issuers' states. Jobs write them: what is larger than anything they write is left out."""

    def __init__(self) -> None:
        self._data: dict[str, Mapping[str, str]] = {}

    def replace(self, objects: Iterable[Json]) -> None:
        """See Keeper."""
        self._data = {one["metadata"]["name"]: _kept(one) for one in objects}

    def put(self, changed: Json) -> None:
        """See Keeper."""
        self._data[changed["metadata"]["name"]] = _kept(changed)

    def drop(self, gone: Json) -> None:
        """See Keeper."""
        self._data.pop(gone["metadata"]["name"], None)

    def of(self, issuer: str, directory: str) -> IssuerState | None:
        """What is known of the issuer at that directory; None if nothing is."""
        data = self._data.get(names.issuer_state(issuer, directory))
        return None if data is None else IssuerState(issuer, directory, {"data": data})


def _kept(state: Json) -> Mapping[str, str]:
    data: dict[str, str] = state.get("data") or {}
    return {key: text for key, text in data.items() if key != SIGNERS and len(text) <= MOST_BYTES}


def statuses(issuers: Issuers, states: IssuerStates, certificates: Counter[str], now: datetime) -> list[IssuerStatus]:
    """Of every issuer, by name; `certificates` says how many each has."""
    found = []
    for name in sorted({*issuers.valid, *issuers.broken}):
        issuer = issuers.valid.get(name)
        state = None if issuer is None else states.of(name, directory_of(issuer))
        found.append(issuer_status(name, issuers, state, certificates=certificates[name], now=now))
    return found
