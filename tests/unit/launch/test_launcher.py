"""Launching: the order of the requests, who wins, and what a failing API server leads to."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import (
    CONFIGMAPS,
    INGRESSES,
    JOBS,
    POD_TEMPLATES,
    SECRETS,
    Cluster,
    Json,
    KubeError,
    Response,
    Transport,
    Unreachable,
)
from issuer_job.demand.common import Entry
from issuer_job.demand.ingress import wants
from issuer_job.hosts.claims import claim_body
from issuer_job.launch import start
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.launcher import Launcher
from issuer_job.launch.outcome import LaunchOutcome, OutcomeReason
from issuer_job.launch.room import Room
from issuer_job.record import transitions
from issuer_job.record.record import Phase
from issuer_job.record.store import to_config_map
from tests.fakes.api import Attempt, denied, denied_by, status
from tests.fakes.distant import DistantTransport
from tests.worlds.job import HOST, ISSUER, JobWorld, ingress, pod_template
from tests.worlds.samples import PROBLEM

HOSTS = ("a.certjob.dev", "b.certjob.dev")


def launcher(world: JobWorld) -> Launcher:
    settings = SettingsCache(world.cluster)
    return Launcher(world.cluster, settings, clock=world.clock.read, room=Room(settings))


def entry(world: JobWorld, body: Json) -> Entry:
    return wants(body, issuers=SettingsCache(world.cluster).issuers()).entries[0]


def launch(
    world: JobWorld,
    body: Json | None = None,
    *,
    namespace: str = "shop",
    by: Launcher | None = None,
    seconds: float = 30,
    expect_new: bool = False,
) -> LaunchOutcome:
    wanted = entry(world, body or ingress(hosts=HOSTS))
    deadline = time.monotonic() + seconds
    return (by or launcher(world)).launch(wanted, namespace=namespace, deadline=deadline, expect_new=expect_new)


def writes(world: JobWorld) -> list[str]:
    kinds = {"configmaps": "claim or record", "ingresses": "route", "secrets": "secret", "jobs": "job"}
    found = []
    for request in world.api.requests:
        if request.method in {"POST", "PUT"} and request.body:
            kind = kinds[request.path.split("/namespaces/")[1].split("/")[1]]
            labels = request.body["metadata"].get("labels", {})
            if kind == "claim or record":
                kind = "claim" if v.CLAIM in labels else "record"
            found.append("canary" if request.query.get("dryRun") else kind)
    return found


def test_the_policies_that_bound_a_launch_are_tried_once_a_minute_and_the_first_each_time(world: JobWorld) -> None:
    by = launcher(world)
    launch(world, by=by)
    assert writes(world).count("canary") == 7
    world.api.requests.clear()
    launch(world, ingress(hosts=("other.certjob.dev",)), namespace="other", by=by)
    assert writes(world).count("canary") == 1


def test_many_launches_at_once_try_the_other_policies_once(world: JobWorld) -> None:
    settings, distant = SettingsCache(world.cluster), Cluster(DistantTransport(world.api, 0.05))
    by = Launcher(distant, settings, clock=world.clock.read, threads=40, room=Room(settings))

    def apply(number: int) -> OutcomeReason:
        return launch(world, ingress(hosts=(f"h{number}.dev",)), namespace=f"n{number}", by=by).reason

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(apply, range(6))) == {OutcomeReason.LAUNCHED}
    assert writes(world).count("canary") == 7 + 5


def test_what_one_finds_missing_holds_all_launches_of_that_moment(world: JobWorld) -> None:
    settings, distant = SettingsCache(world.cluster), Cluster(DistantTransport(world.api, 0.05))
    by = Launcher(distant, settings, clock=world.clock.read, threads=40, room=Room(settings))
    world.api.missing_policies.add("certjob-jobs")

    def apply(number: int) -> OutcomeReason:
        return launch(world, ingress(hosts=(f"h{number}.dev",)), namespace=f"n{number}", by=by).reason

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(apply, range(6))) == {OutcomeReason.NOT_IN_FORCE}
    assert world.api.all(JOBS) == []


@pytest.mark.parametrize("policy", ["own-secrets", "configmaps", "routes", "jobs", "elsewhere"])
def test_nothing_is_launched_where_one_of_the_policies_is_missing(
    world: JobWorld, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.api.missing_policies.add(f"certjob-{policy}")
    assert launch(world).reason is OutcomeReason.NOT_IN_FORCE
    assert set(writes(world)) <= {"canary", "claim"}
    [said] = [r.__dict__["fields"]["problem"] for r in caplog.records if r.message == "policies-not-in-force"]
    assert said == f"admission policy certjob-{policy} is not in force"


def test_what_is_only_placed_asks_the_policies_too(world: JobWorld) -> None:
    def place() -> OutcomeReason:
        wanted = entry(world, ingress(hosts=HOSTS))
        end = time.monotonic() + 30
        return launcher(world).launch(wanted, namespace="shop", deadline=end, expect_new=True, at_once=False).reason

    world.api.missing_policies.add("certjob-configmaps")
    assert place() is OutcomeReason.NOT_IN_FORCE
    assert set(writes(world)) == {"canary"}
    world.api.missing_policies.clear()
    assert place() is OutcomeReason.PUT_OFF
    assert [kind for kind in writes(world) if kind != "canary"] == ["record", "secret"]
    assert world.record().phase is Phase.WANTED


def test_the_order_of_the_writes(world: JobWorld) -> None:
    outcome = launch(world)
    made = writes(world)
    assert sorted(made[:9]) == [*["canary"] * 7, "claim", "claim"]
    assert made[9] == "record"
    assert sorted(made[10:]) == ["job", "route", "route", "secret"]
    assert [kind for kind in made[10:] if kind != "job"] == ["route", "route", "secret"]
    assert (outcome.reason, outcome.warning) == (OutcomeReason.LAUNCHED, None)
    record = world.record()
    assert (record.phase, record.epoch) == (Phase.LAUNCHED, outcome.epoch)
    secret = world.secret()
    assert secret["metadata"]["labels"][v.STATE] == "placeholder"
    assert set(secret["data"]) == {"tls.crt", "tls.key"}
    routes = [route["spec"]["rules"][0]["host"] for route in world.api.all(INGRESSES, v.NAMESPACE)]
    assert sorted(routes) == list(HOSTS)


@dataclass(frozen=True)
class _SlowRoutes:
    """Stores no route before the placeholder is there, for so many seconds."""

    inner: Transport
    seconds: float
    placed: threading.Event = field(default_factory=threading.Event)

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        where, _, query = path.partition("?")
        written = method == "POST" and "dryRun" not in query
        if written and where.endswith("/certjob/ingresses"):
            self.placed.wait(self.seconds)
        answer = self.inner.send(method, path, body=body, timeout=timeout)
        if written and where.endswith("/shop/secrets"):
            self.placed.set()
        return answer

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        return self.inner.stream(path, timeout=timeout)


@pytest.mark.parametrize(
    ("seconds", "lead", "order"),
    [(0.05, 5.0, ["route", "route", "secret"]), (5.0, 0.01, ["secret", "route", "route"])],
)
def test_the_placeholder_comes_after_the_routes_unless_they_take_long(
    world: JobWorld, monkeypatch: pytest.MonkeyPatch, seconds: float, lead: float, order: list[str]
) -> None:
    monkeypatch.setattr(start, "LEAD", lead)
    settings = SettingsCache(world.cluster)
    slow = Cluster(_SlowRoutes(world.api, seconds))
    outcome = launch(world, by=Launcher(slow, settings, clock=world.clock.read, room=Room(settings)))
    assert (outcome.reason, outcome.warning) == (OutcomeReason.LAUNCHED, None)
    assert [kind for kind in writes(world) if kind in {"route", "secret"}] == order


def test_the_same_again_only_reads(world: JobWorld) -> None:
    first = launch(world)
    world.api.requests.clear()
    again = launch(world)
    assert (again.reason, again.epoch) == (OutcomeReason.UNCHANGED, first.epoch)
    assert writes(world) == []


def test_what_is_expected_to_be_new_is_not_looked_up_first(world: JobWorld) -> None:
    first = launch(world, expect_new=True)
    assert first.reason is OutcomeReason.LAUNCHED
    assert not [r for r in world.api.requests if r.method == "GET" and r.path.endswith("shop.web-tls")]
    again = launch(world, expect_new=True)
    assert (again.reason, again.epoch) == (OutcomeReason.UNCHANGED, first.epoch)
    assert len(world.api.all(JOBS)) == 1


def test_what_is_there_already_is_left_as_it_is(world: JobWorld) -> None:
    theirs = world.api.add(SECRETS, "shop", {"metadata": {"name": "web-tls"}, "type": "Opaque", "data": {}})
    for host in HOSTS:
        world.api.add(CONFIGMAPS, v.NAMESPACE, claim_body(host, "shop"))
    route = {"metadata": {"name": names.route("field:traefik", HOSTS[0])}, "spec": {}}
    world.api.add(INGRESSES, v.NAMESPACE, route)
    assert launch(world).reason is OutcomeReason.LAUNCHED
    assert world.api.stored(SECRETS, "shop", "web-tls") == theirs
    assert len(world.api.all(JOBS)) == 1


def test_a_host_of_another_namespace(world: JobWorld) -> None:
    world.api.add(CONFIGMAPS, v.NAMESPACE, claim_body(HOSTS[1], "elsewhere"))
    outcome = launch(world)
    assert outcome.reason is OutcomeReason.HOST_CLAIMED
    assert outcome.warning is not None
    assert HOSTS[1] in outcome.warning
    assert "elsewhere" not in outcome.warning
    assert not {"record", "secret"} & set(writes(world))
    assert world.api.all(JOBS) == []


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "fault",
    [
        status(403, "Forbidden", "no"),
        status(429, "TooManyRequests", retry_after=1),
        status(500, "InternalError"),
        status(503, "ServiceUnavailable"),
        Unreachable("read timed out"),
    ],
    ids=["403", "429", "500", "503", "unreachable"],
)
@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("GET", "/configmaps/shop.web-tls", True),
        ("POST", "/(default|kube-system)/secrets", True),
        ("POST", "/certjob/configmaps", True),
        ("GET", "/podtemplates/", True),
        ("GET", "issuer-state", True),
        ("POST", "/jobs", True),
        ("POST", "/certjob/ingresses", False),
        ("POST", "/shop/secrets", False),
    ],
)
def test_whatever_fails_is_an_outcome(world: JobWorld, fault: object, method: str, path: str, needed: bool) -> None:
    wanted = entry(world, ingress(hosts=HOSTS))
    world.api.fail(method, path, fault, times=9)  # type: ignore[arg-type]
    outcome = launcher(world).launch(wanted, namespace="shop", deadline=time.monotonic() + 30)
    refused = isinstance(fault, Response) and fault.status == 403
    if not needed:
        assert (outcome.reason, "is refused: no" in (outcome.warning or "")) == (OutcomeReason.LAUNCHED, refused)
        assert len(world.api.all(JOBS)) == 1
        return
    assert outcome.reason in {OutcomeReason.LATER, OutcomeReason.NOT_IN_FORCE, OutcomeReason.REFUSED}
    assert outcome.warning is not None
    assert len(outcome.warning) <= 120
    assert world.api.all(JOBS) == []


LABEL = "every object needs the label team"


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (denied_by("team", LABEL), "writeRefused", f"policy team: {LABEL}"),
        (denied_by("team", LABEL, code=422, reason="Invalid"), "writeRefused", f"policy team: {LABEL}"),
        (
            status(400, "", f'admission webhook "validate.kyverno.svc" denied the request: {LABEL}'),
            "writeRefused",
            f"webhook validate.kyverno.svc: {LABEL}",
        ),
        (
            denied('jobs.batch "x" is forbidden: exceeded quota: few, requested: count/jobs.batch=1'),
            "quotaExceeded",
            "exceeded quota: few, requested: count/jobs.batch=1",
        ),
    ],
    ids=["403", "422", "webhook", "quota"],
)
def test_a_job_that_is_refused_makes_the_record_wait_with_the_words_of_who_refused(
    world: JobWorld, answer: Response, kind: str, said: str
) -> None:
    world.api.hooks["jobs"] = lambda attempt: answer
    outcome = launch(world)
    assert outcome.reason is OutcomeReason.REFUSED
    assert said in (outcome.warning or "")
    record = world.record()
    assert record.retry is not None
    assert (record.phase, record.retry.problem.type) == (Phase.WAITING, kind)
    assert said in record.retry.problem.detail
    assert record.retry.not_before is not None
    del world.api.hooks["jobs"]
    world.clock.ahead += timedelta(minutes=2)
    world.relaunch()
    assert len(world.api.all(JOBS)) == 1


@pytest.mark.parametrize("path", ["secrets", "ingresses", "configmaps"])
def test_what_else_is_refused_is_told_at_apply(world: JobWorld, path: str) -> None:
    answer = denied_by("team", LABEL)
    inner = world.policies.secrets
    world.api.hooks[path] = lambda attempt: inner(attempt) if attempt.name == "certjob-canary" else answer
    outcome = launch(world)
    assert outcome.reason is (OutcomeReason.LATER if path == "configmaps" else OutcomeReason.LAUNCHED)
    assert f"policy team: {LABEL}" in (outcome.warning or "")


def test_a_record_that_cannot_be_read(world: JobWorld) -> None:
    world.api.add(CONFIGMAPS, v.NAMESPACE, {"metadata": {"name": "shop.web-tls"}, "data": {v.RECORD_KEY: "{"}})
    outcome = launch(world)
    assert outcome.reason is OutcomeReason.UNREADABLE
    assert "delete ConfigMap shop.web-tls" in (outcome.warning or "")
    assert world.api.all(JOBS) == []


def test_no_time_left(world: JobWorld) -> None:
    body = ingress()
    wanted = entry(world, body)
    world.api.requests.clear()
    outcome = launcher(world).launch(wanted, namespace="shop", deadline=time.monotonic() - 1)
    assert outcome.reason is OutcomeReason.LATER
    assert "no time left" in (outcome.warning or "")
    assert world.api.requests == []


def test_no_request_may_take_longer_than_what_is_left(world: JobWorld) -> None:
    timeouts: list[float] = []
    send = world.api.send

    def noted(method: str, path: str, *, body: bytes | None, timeout: float) -> object:
        settings = ("podtemplates", "labelSelector", "resourcequotas", f"/configmaps/{v.OPTIONS_CONFIG_MAP}")
        if not any(part in path for part in settings):  # cached for all launches: the calls' own timeout bounds them
            timeouts.append(timeout)
        return send(method, path, body=body, timeout=timeout)

    wanted = entry(world, ingress())
    world.api.send = noted  # type: ignore[method-assign,assignment]
    launcher(world).launch(wanted, namespace="shop", deadline=time.monotonic() + 3)
    assert len(timeouts) >= 6
    assert all(0 < timeout <= 3 for timeout in timeouts)


def test_two_launchers_at_once_make_one_record_and_one_job(world: JobWorld) -> None:
    barrier = threading.Barrier(4)

    def go(_: int) -> LaunchOutcome:
        own = launcher(world)
        wanted = entry(world, ingress(hosts=HOSTS))
        barrier.wait(10)
        return own.launch(wanted, namespace="shop", deadline=time.monotonic() + 30)

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(go, range(4)))
    assert sorted(outcome.reason for outcome in outcomes) == ["Launched", "Unchanged", "Unchanged", "Unchanged"]
    assert len({outcome.epoch for outcome in outcomes}) == 1
    assert len(world.api.all(JOBS)) == 1


def test_of_two_namespaces_that_want_the_same_hosts_exactly_one_gets_them(world: JobWorld) -> None:
    hosts = tuple(f"h{number}.certjob.dev" for number in range(12))
    barrier = threading.Barrier(2)

    def go(namespace: str) -> LaunchOutcome:
        own = launcher(world)
        wanted = entry(world, ingress(hosts=hosts, namespace=namespace))
        barrier.wait(10)
        return own.launch(wanted, namespace=namespace, deadline=time.monotonic() + 30)

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(go, ["shop", "rival"]))
    assert sorted(outcome.reason for outcome in outcomes) == ["HostClaimed", "Launched"]
    claims = [c["data"]["namespace"] for c in world.api.all(CONFIGMAPS) if v.CLAIM in c["metadata"].get("labels", {})]
    assert len(claims) == 12
    assert len(set(claims)) == 1
    assert len(world.api.all(JOBS)) == 1


def test_hosts_are_claimed_in_one_order_by_everybody(world: JobWorld) -> None:
    hosts = ("c.certjob.dev", "a.certjob.dev", "b.certjob.dev")
    world.api.add(CONFIGMAPS, v.NAMESPACE, claim_body("b.certjob.dev", "elsewhere"))
    assert launch(world, ingress(hosts=hosts)).reason is OutcomeReason.HOST_CLAIMED
    bodies = [r.body for r in world.api.requests if r.method == "POST" and r.body]
    asked = [body["data"]["host"] for body in bodies if v.CLAIM in body["metadata"].get("labels", {})]
    assert asked == ["a.certjob.dev", "b.certjob.dev"]


def test_a_conflict_is_merged(world: JobWorld) -> None:
    launch(world)
    world.clock.ahead += timedelta(seconds=2)
    joined: list[LaunchOutcome] = []

    send = world.api.send

    def race(method: str, path: str, *, body: bytes | None, timeout: float) -> object:
        if method == "PUT" and not joined:
            joined.append(LaunchOutcome(OutcomeReason.LATER, ""))
            joined[0] = launch(world, ingress("second", hosts=HOSTS))
        return send(method, path, body=body, timeout=timeout)

    world.api.send = race  # type: ignore[method-assign,assignment]
    outcome = launch(world, ingress("third", hosts=HOSTS[:1]))
    assert joined[0].reason is OutcomeReason.MERGED
    assert outcome.reason is OutcomeReason.MERGED
    assert [source.name for source in world.record().sources] == ["web", "second", "third"]
    assert len(world.api.all(JOBS)) == 1


def test_a_record_that_keeps_changing_is_left_to_the_sweep(world: JobWorld) -> None:
    launch(world)
    world.api.fail("PUT", "/configmaps/", status(409, "Conflict"), times=99)
    outcome = launch(world, ingress("second", hosts=HOSTS))
    assert outcome.reason is OutcomeReason.LATER
    assert "keeps changing" in (outcome.warning or "")


def test_changed_hosts_take_a_new_epoch_and_a_job(world: JobWorld) -> None:
    first = launch(world)
    attempt = world.pod()
    attempt.load()
    attempt.claim()
    attempt.advance(transitions.ordering, directory=world.server, account="a")
    second = launch(world, ingress(hosts=(HOST,)))
    assert second.epoch > first.epoch
    assert len(world.api.all(JOBS)) == 2
    assert world.record().intent.hosts == (HOST,)


def test_an_older_ingress_with_other_settings_is_told(world: JobWorld) -> None:
    launch(world, ingress(hosts=HOSTS, creationTimestamp="2026-01-01T00:00:00Z"))
    outcome = launch(world, ingress("second", hosts=HOSTS, annotations={v.KEY_ALGORITHM: "rsa-2048"}))
    assert outcome.reason is OutcomeReason.MERGED
    assert "older Ingress" in (outcome.warning or "")


def test_a_changed_pod_template_is_read_again(world: JobWorld) -> None:
    own = launcher(world)
    launch(world, by=own)
    template = pod_template()
    template["template"]["spec"]["containers"][0]["image"] = "new"
    world.api.add(POD_TEMPLATES, v.NAMESPACE, template)

    def pinned(attempt: Attempt) -> object:
        image = attempt.new["spec"]["template"]["spec"]["containers"][0]["image"] if attempt.new else ""
        return None if image == "new" else denied("certjob-job: the pod differs from PodTemplate certjob-issue")

    world.api.hooks["jobs"] = pinned  # type: ignore[assignment]
    other = launch(world, ingress("second", secret="second-tls", hosts=("c.certjob.dev",)), by=own)
    assert other.reason is OutcomeReason.LAUNCHED
    assert len(world.api.all(JOBS)) == 2


def test_a_record_made_anew_within_one_second_has_a_job_of_its_own(world: JobWorld) -> None:
    frozen = world.clock.read()
    world.clock.read = lambda: frozen  # type: ignore[method-assign]
    first = launch(world)
    world.api.remove(CONFIGMAPS, v.NAMESPACE, "shop.web-tls")
    second = launch(world)
    assert second.reason is OutcomeReason.LAUNCHED
    assert second.epoch == first.epoch == world.record().epoch
    uids = [job["metadata"]["labels"][v.RECORD_UID] for job in world.api.all(JOBS)]
    assert len(set(uids)) == 2


def test_the_job_is_our_own_already(world: JobWorld) -> None:
    launch(world)
    record = world.record()
    launcher(world).until(time.monotonic() + 30).start(record)
    assert world.record() == record
    assert len(world.api.all(JOBS)) == 1


def test_an_issuer_that_went_away_meanwhile(world: JobWorld) -> None:
    launch(world)
    record = world.record()
    world.api.remove(CONFIGMAPS, v.NAMESPACE, "test-ca")
    world.api.remove(JOBS, v.NAMESPACE, record.job_name)
    with pytest.raises(KubeError, match="issuer test-ca is not there"):
        launcher(world).until(time.monotonic() + 30).start(record)


def test_what_is_not_launched_is_written_down_with_a_placeholder(world: JobWorld) -> None:
    now = world.clock.read()
    source = entry(world, ingress()).source
    wanted = transitions.wanted(namespace="shop", secret_name="web-tls", sources=(source,), now=now)
    stored = launcher(world).until(time.monotonic() + 30).write_down(wanted)
    assert stored == world.record()
    assert world.secret()["metadata"]["labels"][v.STATE] == "placeholder"
    assert (world.api.all(JOBS), world.api.all(INGRESSES)) == ([], [])


def test_somebody_wrote_it_down_before(world: JobWorld) -> None:
    launch(world)
    before = world.record()
    wanted = transitions.wanted(
        namespace="shop", secret_name="web-tls", sources=before.sources, now=world.clock.read()
    )
    assert launcher(world).until(time.monotonic() + 30).write_down(wanted) is None
    assert world.record() == before


def test_beyond_a_namespaces_bound_it_is_put_off_with_a_placeholder(world: JobWorld) -> None:
    world.set_options(activeOrdersPerNamespace=1)
    own = launcher(world)
    launch(world, by=own)
    other = ingress("second", secret="second-tls", hosts=("c.certjob.dev",))
    outcome = launch(world, other, by=own)
    assert outcome.reason is OutcomeReason.PUT_OFF
    assert "it has its turn later" in (outcome.warning or "")
    assert world.record("second-tls").phase is Phase.WANTED
    assert world.secret("second-tls")["metadata"]["labels"][v.STATE] == "placeholder"
    assert len(world.api.all(JOBS)) == 1
    elsewhere = ingress("web", namespace="other", hosts=("d.certjob.dev",))
    assert launch(world, elsewhere, by=own, namespace="other").reason is OutcomeReason.LAUNCHED


def test_beyond_the_bound_a_known_record_is_left_to_the_sweep(world: JobWorld) -> None:
    world.set_options(activeOrdersPerNamespace=1)
    own = launcher(world)
    launch(world, by=own)
    world.api.add(INGRESSES, "shop", ingress(hosts=HOSTS))
    assert world.run() is v.ExitCode.DONE
    assert launch(world, ingress("x", secret="x", hosts=("x.certjob.dev",))).reason is OutcomeReason.LAUNCHED
    own, before = launcher(world), world.record()
    outcome = launch(world, ingress(hosts=(HOST,)), by=own)
    assert (outcome.reason, world.record()) == (OutcomeReason.PUT_OFF, before)
    assert launch(world, ingress(hosts=HOSTS), by=own).reason is OutcomeReason.UNCHANGED


def test_of_many_at_once_no_more_are_launched_than_the_bound(world: JobWorld) -> None:
    world.set_options(activeOrdersPerNamespace=3)
    settings, distant = SettingsCache(world.cluster), Cluster(DistantTransport(world.api))
    own = Launcher(distant, settings, clock=world.clock.read, threads=40, room=Room(settings))

    def apply(number: int) -> OutcomeReason:
        body = ingress(f"web-{number}", secret=f"web-{number}-tls", hosts=(f"h{number}.certjob.dev",))
        return launch(world, body, by=own).reason

    with ThreadPoolExecutor(10) as pool:
        reasons = Counter(pool.map(apply, range(10)))
    assert reasons == {OutcomeReason.LAUNCHED: 3, OutcomeReason.PUT_OFF: 7}
    assert len(world.api.all(JOBS)) == 3


@pytest.mark.parametrize("obstacle", ["host claimed", "record not written"])
def test_what_was_not_launched_takes_no_room(world: JobWorld, obstacle: str) -> None:
    world.set_options(activeOrdersPerNamespace=1)
    own = launcher(world)
    if obstacle == "host claimed":
        world.api.add(CONFIGMAPS, v.NAMESPACE, claim_body(HOSTS[0], "other"))
    else:
        record = names.record("shop", "web-tls")
        world.api.hooks["configmaps"] = lambda write: denied("no") if write.name == record else None
    assert launch(world, by=own).reason is not OutcomeReason.LAUNCHED
    other = ingress("second", secret="second-tls", hosts=("c.certjob.dev",))
    assert launch(world, other, by=own).reason is OutcomeReason.LAUNCHED


def test_one_that_launches_nothing_needs_no_room(world: JobWorld) -> None:
    world.set_options(activeOrdersPerNamespace=2)
    own = launcher(world)
    for _ in range(3):
        launch(world, by=own)
    other = ingress("second", secret="second-tls", hosts=("c.certjob.dev",))
    assert launch(world, other, by=own).reason is OutcomeReason.LAUNCHED


def test_room_is_free_again_as_soon_as_an_attempt_has_ended(world: JobWorld) -> None:
    seconds = [0.0]
    world.set_options(activeOrdersPerNamespace=1)
    settings = SettingsCache(world.cluster)
    room = Room(settings, clock=lambda: seconds[0])
    own = Launcher(world.cluster, settings, clock=world.clock.read, room=room)
    world.api.add(INGRESSES, "shop", ingress())
    launch(world, by=own)
    seconds[0] = 5
    other = ingress("second", secret="second-tls", hosts=("c.certjob.dev",))
    assert launch(world, other, by=own).reason is OutcomeReason.PUT_OFF
    assert world.run() is v.ExitCode.DONE
    seconds[0] = 10
    assert launch(world, other, by=own).reason is OutcomeReason.LAUNCHED


def test_with_routes_by_the_job_none_is_made(world: JobWorld) -> None:
    world.set_options(routes="job")
    assert launch(world).reason is OutcomeReason.LAUNCHED
    assert world.api.all(INGRESSES, v.NAMESPACE) == []
    assert "secret" in writes(world)


def test_held_back_there_is_a_placeholder_all_the_same(world: JobWorld) -> None:
    launch(world)
    failed = transitions.failed(replace(world.record(), phase=Phase.CLAIMED), problem=PROBLEM, now=world.clock.read())
    world.cluster.update(CONFIGMAPS, v.NAMESPACE, to_config_map(replace(failed, phase=Phase.ORPHANED)))
    world.api.remove(SECRETS, "shop", "web-tls")
    outcome = launch(world, expect_new=True)
    assert (outcome.reason, world.record().phase) == (OutcomeReason.MERGED, Phase.FAILED)
    assert world.secret()["metadata"]["labels"][v.STATE] == "placeholder"
    assert len(world.api.all(JOBS)) == 1


def issued(world: JobWorld) -> None:
    """A certificate whose Ingress is gone, and its Secret with it."""
    launch(world)
    world.api.add(INGRESSES, "shop", ingress(hosts=HOSTS))
    assert world.run() is v.ExitCode.DONE
    world.api.remove(INGRESSES, "shop", "web")
    world.api.remove(SECRETS, "shop", "web-tls")


@pytest.mark.parametrize("name", ["web", "renamed"])
def test_an_ingress_made_anew_whose_secret_is_missing(world: JobWorld, name: str) -> None:
    issued(world)
    outcome = launch(world, ingress(name, hosts=HOSTS), expect_new=True)
    assert outcome.reason is OutcomeReason.LAUNCHED
    assert world.secret()["metadata"]["labels"][v.STATE] == "placeholder"
    assert world.record().phase is Phase.LAUNCHED
    assert name in [source.name for source in world.record().sources]


def test_an_ingress_made_anew_whose_secret_is_there(world: JobWorld) -> None:
    launch(world)
    world.api.add(INGRESSES, "shop", ingress(hosts=HOSTS))
    assert world.run() is v.ExitCode.DONE
    before = world.record()
    assert launch(world, expect_new=True).reason is OutcomeReason.UNCHANGED
    assert world.record() == before


def test_an_update_does_not_ask_for_the_secret(world: JobWorld) -> None:
    issued(world)
    world.api.requests.clear()
    assert launch(world).reason is OutcomeReason.UNCHANGED
    assert "secret" not in writes(world)


def test_a_missing_secret_is_not_forgotten_when_the_record_changes_meanwhile(world: JobWorld) -> None:
    issued(world)
    world.api.fail("PUT", "/configmaps/shop.web-tls", status(409, "Conflict"))
    assert launch(world, expect_new=True).reason is OutcomeReason.LAUNCHED
    assert len(world.api.all(JOBS)) == 2


def many(world: JobWorld, number: int, *, by: Launcher) -> list[LaunchOutcome]:
    bodies = (ingress(f"w{n}", secret=f"w{n}", hosts=(f"w{n}.certjob.dev",)) for n in range(number))
    return [launch(world, body, by=by) for body in bodies]


def test_an_order_beyond_a_limit_is_written_down_and_told_with_the_time(world: JobWorld) -> None:
    world.set_issuer(limits={"orders": 2})
    outcomes = many(world, 3, by=launcher(world))
    launched = OutcomeReason.LAUNCHED
    assert [outcome.reason for outcome in outcomes] == [launched, launched, OutcomeReason.OVER_LIMIT]
    record = world.record("w2")
    assert record.phase is Phase.WAITING
    assert record.retry is not None
    assert record.retry.not_before is not None
    assert (record.retry.problem.type, record.retry.asked, record.retry.failures) == (transitions.HELD_BACK, True, 0)
    assert (outcomes[2].warning or "").startswith(
        f"Secret w2: held back until {record.retry.not_before:%Y-%m-%d %H:%M} UTC"
    )
    assert len(outcomes[2].warning or "") < 120
    assert world.secret("w2")["metadata"]["labels"][v.STATE] == "placeholder"
    assert len(world.api.all(JOBS)) == 2


def test_what_the_book_has_by_now_is_not_counted_twice(world: JobWorld) -> None:
    world.set_issuer(limits={"orders": 3})
    elapsed = [0.0]
    settings = SettingsCache(world.cluster, clock=lambda: elapsed[0])
    own = Launcher(world.cluster, settings, clock=world.clock.read, room=Room(settings))
    many(world, 2, by=own)
    for number in range(2):
        world.api.add(
            INGRESSES, "shop", ingress(f"w{number}", secret=f"w{number}", hosts=(f"w{number}.certjob.dev",))
        )
        assert world.run(secret=f"w{number}") is v.ExitCode.DONE
    elapsed[0] += 60
    assert len(settings.order_book(ISSUER, world.server).entries) == 2
    assert [outcome.reason for outcome in many(world, 4, by=own)[2:]] == [
        OutcomeReason.LAUNCHED,
        OutcomeReason.OVER_LIMIT,
    ]


def test_more_hosts_beyond_a_limit_wait_beside_the_certificate(world: JobWorld) -> None:
    world.set_issuer(limits={"orders": 1})
    issued(world)
    outcome = launch(world, ingress(hosts=(*HOSTS, "c.certjob.dev")))
    assert outcome.reason is OutcomeReason.OVER_LIMIT
    record = world.record()
    assert (record.phase, record.state, len(record.intent.hosts)) == (Phase.WAITING, "Issued", 3)


def test_what_runs_is_left_alone_by_a_limit(world: JobWorld) -> None:
    world.set_issuer(limits={"orders": 1})
    own = launcher(world)
    launch(world, by=own)
    other = ingress("second", secret="second-tls", hosts=("c.certjob.dev",))
    assert launch(world, other, by=own).reason is OutcomeReason.OVER_LIMIT
    attempt = world.pod()
    attempt.load()
    attempt.claim()
    attempt.advance(transitions.ordering, directory=world.server, account="a")
    before = world.record()
    fresh = launcher(world)
    launch(world, replace_host(other, "d.certjob.dev"), by=fresh)
    outcome = launch(world, ingress(hosts=(*HOSTS, "c.certjob.dev")), by=fresh)
    assert outcome.reason is OutcomeReason.OVER_LIMIT
    assert world.record() == before


def replace_host(body: Json, host: str) -> Json:
    return ingress(body["metadata"]["name"], secret="third-tls", hosts=(host,))


def test_an_order_that_another_namespaces_host_stopped_takes_nobodys_share(world: JobWorld) -> None:
    world.set_issuer(limits={"orders": 2})
    own = launcher(world)
    world.api.add(CONFIGMAPS, v.NAMESPACE, claim_body(HOSTS[0], "other"))
    assert launch(world, by=own).reason is OutcomeReason.HOST_CLAIMED
    other = ingress("second", secret="second-tls", hosts=("c.certjob.dev",))
    assert launch(world, other, by=own).reason is OutcomeReason.LAUNCHED


@pytest.mark.parametrize("kind", ["certificates", "hosts"])
def test_one_too_many_is_not_written_down_and_takes_no_claim(world: JobWorld, kind: str) -> None:
    world.set_options(**{f"{kind}PerNamespace": 1})
    own = launcher(world)
    assert launch(world, ingress(hosts=(HOST,)), by=own).reason is OutcomeReason.LAUNCHED
    before = len(world.api.all(CONFIGMAPS))
    outcome = launch(world, ingress("second", secret="second-tls", hosts=("c.certjob.dev",)), by=own)
    assert outcome.reason is OutcomeReason.TOO_MANY
    assert f"option {kind}PerNamespace" in (outcome.warning or "")
    assert len(world.api.all(CONFIGMAPS)) == before


@pytest.mark.parametrize(
    ("asked", "said"),
    [(False, "Secret web-tls: failed (connection), again at "), (True, "UTC")],
    ids=["", "by the CA"],
)
def test_an_apply_says_until_when_a_failed_certificate_waits_and_how_to_have_it_tried_now(
    world: JobWorld, asked: bool, said: str
) -> None:
    launch(world)
    problem = replace(PROBLEM, type="connection")
    claimed = replace(world.record(), phase=Phase.CLAIMED)
    wait = timedelta(hours=6)
    failed = transitions.waiting(claimed, world.clock.read(), problem=problem, wait=wait, asked=asked)
    world.cluster.update(CONFIGMAPS, v.NAMESPACE, to_config_map(failed))
    outcome = launch(world)
    assert outcome.reason is OutcomeReason.UNCHANGED
    assert outcome.warning is not None
    assert said in outcome.warning
    assert len(outcome.warning) <= 111
    assert outcome.warning.endswith(v.RETRY) is not asked


def test_a_corrected_class_has_its_attempt_in_the_same_request(world: JobWorld) -> None:
    launch(world)
    problem = replace(PROBLEM, step="challenge")
    claimed = replace(world.record(), phase=Phase.CLAIMED)
    failed = transitions.waiting(claimed, world.clock.read(), problem=problem, wait=timedelta(hours=6))
    world.cluster.update(CONFIGMAPS, v.NAMESPACE, to_config_map(failed))
    corrected = ingress(hosts=HOSTS)
    corrected["spec"]["ingressClassName"] = "corrected"
    assert launch(world, corrected).reason is OutcomeReason.LAUNCHED
    assert world.record().retry is None
