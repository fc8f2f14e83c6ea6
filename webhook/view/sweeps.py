"""The sweeps, as their CronJob and their pods tell of them; and what other pods said at their end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from issuer_job import last_word, names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Cluster, Json, Resource
from issuer_job.last_word import LastWord, Work
from issuer_job.record.phases import SWEEP_INTERVAL
from issuer_job.tenant_secrets.access import Refusal

CRON_JOBS = Resource("/apis/batch/v1", "cronjobs")
INTERVAL_VARIABLE = "CERTJOB_SWEEP_INTERVAL"


@dataclass(frozen=True)
class SweepSchedule:
    """What the CronJob says: when a sweep succeeded last, if one has, and how often they come by."""

    last_success: datetime | None = None
    interval: timedelta = SWEEP_INTERVAL


def read_schedule(cluster: Cluster) -> SweepSchedule | None:
    """As it is now; None if there is no CronJob. Raises KubeError."""
    found = cluster.find(CRON_JOBS, v.NAMESPACE, v.SWEEP_CRON_JOB)
    return None if found is None else schedule_of(found)


def schedule_of(cron_job: Json) -> SweepSchedule:
    """Pure."""
    pod = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    variables = [entry for container in pod["containers"] for entry in container.get("env") or ()]
    told = next((str(e.get("value", "")) for e in variables if e.get("name") == INTERVAL_VARIABLE), "")
    seconds = names.number(told)
    interval = timedelta(seconds=seconds) if 10 <= seconds <= 86400 else SWEEP_INTERVAL
    return SweepSchedule(_moment((cron_job.get("status") or {}).get("lastSuccessfulTime")), interval)


@dataclass(frozen=True)
class EndedSweep:
    """The last words of a sweep's pod."""

    at: datetime
    word: LastWord

    @property
    def policies_in_force(self) -> bool | None:
        """None if it did not get so far as to know."""
        if self.word.problem == Refusal.NOT_IN_FORCE:
            return False
        return True if self.word.exit_code == v.ExitCode.DONE else None


class EndedPods:
    """A keeper of certjob's pods, see `cluster.following`: their last words, each told once."""

    def __init__(self, tell: Callable[[LastWord], None]) -> None:
        self._tell = tell
        self._listed = False
        self._seen: set[str] = set()
        self.last_sweep: EndedSweep | None = None

    def replace(self, objects: Iterable[Json]) -> None:
        """See Keeper."""
        there = set()
        for pod in objects:
            there.add(pod["metadata"]["uid"])
            self.put(pod)
        self._seen &= there
        self._listed = True

    def put(self, changed: Json) -> None:
        """See Keeper."""
        uid = changed["metadata"]["uid"]
        if uid in self._seen:
            return
        for at, word in _words(changed):
            self._seen.add(uid)
            if self._listed:
                self._tell(word)
            if word.work is Work.SWEEP and (self.last_sweep is None or at >= self.last_sweep.at):
                self.last_sweep = EndedSweep(at, word)

    def drop(self, gone: Json) -> None:
        """See Keeper."""
        self._seen.discard(gone["metadata"]["uid"])


def _words(pod: Json) -> Iterator[tuple[datetime, LastWord]]:
    """What its first container that has ended said, and when."""
    if (pod["metadata"].get("labels") or {}).get(v.APP_COMPONENT) not in set(Work):
        return
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        ended = (container.get("state") or {}).get("terminated")
        at = _moment((ended or {}).get("finishedAt"))
        word = last_word.read(str((ended or {}).get("message") or ""))
        if at is not None and word is not None:
            yield at, word
            return


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
