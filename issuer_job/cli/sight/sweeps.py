"""When sweeps come by: the CronJob as it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from issuer_job.cli.base.endings import is_forbidden
from issuer_job.cli.base.session import Session
from issuer_job.cluster.api import Cluster, Json, KubeError, NotFound, Resource
from issuer_job.record.phases import SWEEP_INTERVAL
from issuer_job.status import moments

CRON_JOBS = Resource("/apis/batch/v1", "cronjobs")
NAME = "certjob-sweep"


@dataclass(frozen=True)
class Sweeps:
    """`interval` is from one to the next; the moments are None if there was none yet."""

    interval: timedelta = SWEEP_INTERVAL
    suspended: bool = False
    scheduled: datetime | None = None
    succeeded: datetime | None = None
    created: datetime | None = None

    def next_at(self, now: datetime) -> datetime | None:
        """When the next is to be launched; None if nobody knows."""
        if self.suspended or self.scheduled is None:
            return None
        late = max(0, (now - self.scheduled) // self.interval)
        return self.scheduled + (late + 1) * self.interval


def sweeps_of(cron_job: Json) -> Sweeps:
    """What the CronJob says. Pure."""
    spec, status, metadata = cron_job.get("spec") or {}, cron_job.get("status") or {}, cron_job["metadata"]
    pod = spec["jobTemplate"]["spec"]["template"]["spec"] if "jobTemplate" in spec else {}
    variables = (entry for container in pod.get("containers") or () for entry in container.get("env") or ())
    seconds = next((one.get("value", "") for one in variables if one["name"] == "CERTJOB_SWEEP_INTERVAL"), "")
    return Sweeps(
        interval=timedelta(seconds=int(seconds)) if seconds.isdecimal() and int(seconds) else SWEEP_INTERVAL,
        suspended=bool(spec.get("suspend")),
        scheduled=_moment(status.get("lastScheduleTime")),
        succeeded=_moment(status.get("lastSuccessfulTime")),
        created=_moment(metadata.get("creationTimestamp")),
    )


def read_sweeps(cluster: Cluster, namespace: str) -> Sweeps:
    """Raises NotFound, KubeError."""
    return sweeps_of(cluster.get(CRON_JOBS, namespace, NAME))


def next_sweep(session: Session) -> str:
    """ "the sweep in 2m", as far as whoever asks may know. Raises KubeError."""
    try:
        at = read_sweeps(session.cluster, session.certjob_namespace).next_at(session.now)
    except NotFound:
        at = None
    except KubeError as problem:
        if not is_forbidden(problem):
            raise
        at = None
    return "the next sweep" if at is None else f"the sweep {moments.relative(at, session.now)}"


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None
