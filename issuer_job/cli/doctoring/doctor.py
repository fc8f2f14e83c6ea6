"""Whether certjob itself is as it should be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from issuer_job import vocabulary as v
from issuer_job.cli.base.command import command
from issuer_job.cli.base.endings import CommandError, Exit
from issuer_job.cli.base.flags import OUTPUT
from issuer_job.cli.base.session import Session

if TYPE_CHECKING:
    from issuer_job.cli.doctoring.facts import Facts
    from issuer_job.cli.out.verdicts import Judged
    from issuer_job.cluster.api import Json


@command(OUTPUT)
@click.option("--bundle", metavar="FILE", help="Write what support needs into this file (.tar.gz), hosts hashed.")
def doctor(session: Session, bundle: str | None) -> Exit:
    """Whether certjob itself is as it should be; for operators.

    Compares what is installed with the manifests of this version; has the policies refuse and answer what they have
    to, as certjob's own identities, if you may impersonate these; looks at pods, sweeps, issuers, quotas, clocks, and
    for Secrets that another tool renews, too. Writes nothing in the cluster.
    """
    from issuer_job.cli.doctoring import judge
    from issuer_job.cli.doctoring.facts import Facts
    from issuer_job.cli.out import forms, verdicts

    session.find_certjob()
    facts = Facts(session)
    found = list(_looked_at(session, facts))
    if session.flags.output in {"json", "yaml"}:
        document = verdicts.Report(kind="DoctorReport", subjects=(verdicts.about((facts.where, found)),))
        forms.print_document(session.terminal, document, session.flags.output)
    else:
        verdicts.show(session.terminal, found)
    if bundle is not None:
        from issuer_job.cli.bundling.bundle import write_bundle

        size = write_bundle(bundle, facts, found)
        says = "hosts are hashed, keys and tokens left out; look it over before you send it"
        session.terminal.note(f"{bundle}: {size // 1024 + 1} KiB; {says}")
    # The clock is told by whoever answers, and says nothing of certjob.
    return verdicts.exit_code([one for one in found if one.about != judge.CLOCK])


def _looked_at(session: Session, facts: Facts) -> Iterator[Judged]:
    """A line for each thing, the foundations first. Raises KubeError."""
    from issuer_job.cli.doctoring import judge
    from issuer_job.cli.doctoring.facts import MayNotRead
    from issuer_job.cli.doctoring.masters import judge_masters
    from issuer_job.cli.out.verdicts import fail, unknown

    template, deployments = facts.template, facts.deployments
    if template is None:
        yield fail(judge.KUBERNETES, f"certjob is not installed in namespace {facts.where}: README.md")
        return
    if isinstance(template, MayNotRead) or isinstance(deployments, MayNotRead):
        why = next(one.why for one in (template, deployments) if isinstance(one, MayNotRead))
        yield unknown(judge.KUBERNETES, f"{facts.kubernetes}; what is installed you may not read: {why}")
    else:
        running = {what: deployments[name] for what, name in judge.DEPLOYMENTS.items() if name in deployments}
        yield from judge.judge_versions(facts.kubernetes, template, judge.image_tags({"job": template, **running}))
        yield from judge.judge_parts(deployments)
    yield from _webhook(session, facts)
    yield from _policies(session, facts, template)
    now = facts.clock[0] or session.now
    sweeps, pods = facts.sweeps, facts.sweep_pods
    if isinstance(sweeps, MayNotRead):
        yield unknown(judge.SWEEP, sweeps.why)
    else:
        yield judge.judge_sweep(sweeps, [] if isinstance(pods, MayNotRead) else pods, now)
    yield from judge_masters(facts)
    yield from _settings(facts)


def _webhook(session: Session, facts: Facts) -> Iterator[Judged]:
    """What is sent to it, and whom the API server trusts."""
    from issuer_job.cli.doctoring import judge, serving
    from issuer_job.cli.doctoring.facts import MayNotRead
    from issuer_job.cli.out.verdicts import unknown

    configuration, pods = facts.webhook_configuration, facts.webhook_pods
    if isinstance(configuration, MayNotRead):
        yield unknown(judge.PARTS, f"what the API server sends the webhook: {configuration.why}")
        return
    yield from judge.judge_webhook(configuration)
    if isinstance(pods, MayNotRead):
        yield unknown(judge.PARTS, f"whether the caBundle trusts what webhook pods serve: {pods.why}")
    elif configuration is not None and pods:
        shown = serving.shown_by(session, pods, serving.bundles(configuration))
        yield from serving.judge_serving(shown, session.now)


def _policies(session: Session, facts: Facts, template: Json | object) -> Iterator[Judged]:
    """What bounds certjob's rights, and the rest of what is installed."""
    from issuer_job.cli.doctoring import judge, manifests
    from issuer_job.cli.doctoring.acting import judge_in_force
    from issuer_job.cli.doctoring.drift import compare
    from issuer_job.cli.doctoring.facts import MayNotRead
    from issuer_job.cli.out.verdicts import ok, unknown

    older = isinstance(template, dict) and judge.looks_by_version(template)
    try:
        render = session.surroundings.kustomize or manifests.kustomized
        wanted = [manifests.installation(facts.where, render, before_1_36=older)]
        live, unread = facts.installed(wanted[0])
        deployments = facts.deployments
        without_view = not isinstance(deployments, MayNotRead) and judge.DEPLOYMENTS["view"] not in deployments
        drift = compare(wanted, live, without_view=without_view)
        if drift.changed:
            wanted += manifests.with_components(facts.where, render, before_1_36=older)
            drift = compare(wanted, live, without_view=without_view)
    except CommandError as problem:
        yield unknown(judge.POLICIES, f"not compared with the manifests: {problem}")
    else:
        yield from judge.judge_drift(drift, v.VERSION)
        if unread:
            yield unknown(judge.POLICIES, f"not compared with the manifests: you may not get {', '.join(unread)}")
        bounding = drift.of(strict=True)
        if not (bounding.missing or bounding.changed or unread):
            count = sum(kind.endswith("AdmissionPolicy") for kind, _ in live)
            yield ok(judge.POLICIES, f"{count}, and all rights, as in the manifests of {v.VERSION}")
    yield from judge_in_force(session, looks=not older)


def _settings(facts: Facts) -> Iterator[Judged]:
    """Issuers, options, and what certjob's namespace is like."""
    from issuer_job.cli.doctoring import judge
    from issuer_job.cli.doctoring.facts import MayNotRead
    from issuer_job.cli.out.verdicts import fail, unknown

    if isinstance(facts.issuers, MayNotRead):
        yield unknown(judge.ISSUERS, facts.issuers.why)
    else:
        yield from judge.judge_issuers(facts.issuer_statuses)
    if isinstance(facts.options_problem, str) and facts.options_problem:
        yield fail("options", facts.options_problem, docs="docs/troubleshooting.md#brokenoptions")
    if not isinstance(facts.records, MayNotRead):
        good, broken = facts.records
        found = judge.judge_records(len(good) + len(broken), broken)
        yield from [] if found is None else [found]
    clock = judge.judge_clock(*facts.clock)
    yield from [] if clock is None else [clock]
    quota, namespace = facts.quota, facts.namespace
    yield unknown(judge.QUOTA, quota.why) if isinstance(quota, MayNotRead) else judge.judge_quota(quota)
    if isinstance(namespace, MayNotRead):
        yield unknown(judge.NAMESPACE, namespace.why)
    else:
        yield judge.judge_namespace(namespace, facts.where)
