"""What of the manifests a chart's values decide: paths of objects, and what templates have there."""

from __future__ import annotations

from collections.abc import Iterator

from supply.chart.templates import Key, Row, Table, Variant

PODS: dict[Key, tuple[str, str, str]] = {
    ("Deployment", "certjob-webhook"): ("/spec/template/spec", "webhook", "webhook"),
    ("Deployment", "certjob-responder"): ("/spec/template/spec", "responder", "job"),
    ("Deployment", "certjob-view"): ("/spec/template/spec", "view", "webhook"),
    ("CronJob", "certjob-sweep"): ("/spec/jobTemplate/spec/template/spec", "sweep", "job"),
    ("Job", "certjob-bootstrap"): ("/spec/template/spec", "sweep", "job"),
    ("PodTemplate", "certjob-issue"): ("/template/spec", "jobs", "job"),
}
"""Where a pod's spec is, the value that is about it, and its image."""
WEBHOOK, RESPONDER = ("Deployment", "certjob-webhook"), ("Deployment", "certjob-responder")
SWEEP, BOOTSTRAP = ("CronJob", "certjob-sweep"), ("Job", "certjob-bootstrap")
ISSUE = ("PodTemplate", "certjob-issue")
QUOTAS = {
    ("ResourceQuota", "certjob"): {"count~1jobs.batch": "jobs", "count~1configmaps": "configMaps"},
    ("ResourceQuota", "certjob-issue"): {"pods": "pods", "limits.memory": "memory"},
}
KEPT = [
    (f"ValidatingAdmissionPolicy{kind}", f"certjob-{name}{suffix}")
    for name in ("jobs", "routes")
    for kind, suffix in (("", ""), ("Binding", ""), ("Binding", "-canary"))
]
WEBHOOK_SERVICE = ("Service", "certjob-webhook")


def _pods() -> Iterator[Row]:
    for key, (path, value, image) in PODS.items():
        container = f"{path}/containers/0"
        yield Row(key, f"{container}/image", f'{{{{ include "certjob.image" (list . "{image}") }}}}')
        yield Row(key, f"{container}/imagePullPolicy", "{{ .Values.image.pullPolicy }}")
        yield Row(key, f"{container}/resources", f"toYaml .Values.{value}.resources", tree=True)
        yield Row(key, f"{path}/priorityClassName", f"{{{{ .Values.{value}.priorityClassName }}}}")
        yield Row(key, f"{path}/placement", f'include "certjob.placement" (list . .Values.{value})', add=True)


def _quotas() -> Iterator[Row]:
    for key, fields in QUOTAS.items():
        for field, value in fields.items():
            yield Row(key, f"/spec/hard/{field}", f"{{{{ .Values.quota.{value} | quote }}}}")


TABLE = Table(
    rows=[
        *_pods(),
        *_quotas(),
        Row(WEBHOOK, "/spec/replicas", "{{ .Values.webhook.replicas }}"),
        Row(RESPONDER, "/spec/replicas", "{{ .Values.responder.replicas }}"),
        Row(SWEEP, "/spec/schedule", '"*/{{ .Values.sweep.everyMinutes }} * * * *"'),
        Row(
            SWEEP,
            "/spec/jobTemplate/spec/template/spec/containers/0/env/name=CERTJOB_SWEEP_INTERVAL/value",
            "{{ mul 60 .Values.sweep.everyMinutes | quote }}",
        ),
        Row(
            ISSUE,
            "/metadata/annotations/certjob.io~1ttl-seconds-after-finished",
            "{{ .Values.jobs.keepSeconds | quote }}",
        ),
        Row(BOOTSTRAP, "/metadata/name", '{{ include "certjob.bootstrap.name" . }}'),
        # An API server whose last policy with a kind of parameters was deleted refuses what a new one matches until
        # it is restarted; so these stay with their bindings, as they do for whoever uninstalls by the README.
        *(Row(key, "/metadata/annotations", 'include "certjob.kept" .', add=True) for key in KEPT),
        # Helm deletes Services first and a webhook's configuration last: whoever writes a Secret that asks in between
        # would be refused. The pods answer until they have drained.
        Row(WEBHOOK_SERVICE, "/metadata/annotations", 'include "certjob.kept" .', add=True),
        *(
            Row((kind, "certjob"), "/metadata/labels/further", 'include "certjob.monitoringLabels" .', add=True)
            for kind in ("PodMonitor", "PrometheusRule")
        ),
        Row(
            ("PrometheusRule", "certjob"),
            "/spec/groups/*/rules/*/annotations/runbook_url",
            "{{ .Values.monitoring.runbook }}",
            part="docs/runbook.md",
        ),
        Row(("ConfigMap", "certjob-route-policy"), "/data", 'include "certjob.routePolicy" .', add=True),
        Row(("NetworkPolicy", "api-server"), "/spec/egress/0/to", 'include "certjob.apiServer" .', tree=True),
    ],
    conditions={
        ("PodDisruptionBudget", "certjob-webhook"): "gt (int .Values.webhook.replicas) 1",
        ("PodDisruptionBudget", "certjob-responder"): "gt (int .Values.responder.replicas) 1",
        ("NetworkPolicy", "*"): ".Values.networkPolicies.enabled",
        ("ResourceQuota", "*"): ".Values.quota.enabled",
        ("ClusterRole", "certjob-complete-tls"): 'include "certjob.completeTls" .',
        ("ClusterRoleBinding", "certjob-complete-tls"): 'include "certjob.completeTls" .',
    },
    left_out=frozenset(
        {("Namespace", "certjob"), ("ConfigMap", "letsencrypt"), ("ConfigMap", "letsencrypt-staging")}
    ),
    variants=[
        Variant("before-1.36", 'include "certjob.looksByVersion" .'),
        Variant("optional/user-namespaces", ".Values.userNamespaces"),
        Variant("optional/cert-manager-annotations", ".Values.options.certManagerAnnotations"),
        Variant("optional/monitoring", ".Values.monitoring.enabled"),
        Variant("optional/api-server", ".Values.networkPolicies.apiServer"),
    ],
    named_by_spec={BOOTSTRAP: "certjob.bootstrap.spec"},
)
