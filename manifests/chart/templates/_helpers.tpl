{{- /* An image, by the key of its digest: "job" or "webhook". */ -}}
{{- define "certjob.image" -}}
{{- $root := index . 0 -}}
{{- $image := $root.Values.image -}}
{{- with $image.registry }}{{ . }}/{{ end }}certjob-{{ index . 1 }}
{{- with index $image.digest (index . 1) }}@{{ . }}{{ else }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* Where the pods of a part run; empty without any wish. */ -}}
{{- define "certjob.placement" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.image.pullSecrets }}imagePullSecrets: {{- toYaml . | nindent 2 }}
{{ end }}
{{- with pick (index . 1) "nodeSelector" "tolerations" "affinity" }}
{{- range $key, $value := . }}{{ with $value }}{{ $key }}: {{- toYaml . | nindent 2 }}
{{ end }}{{ end }}
{{- end }}
{{- end }}

{{- /* Whether looks are as before Kubernetes 1.36: "true", or empty. A cluster that was asked names kinds; without one
there are but groups. */ -}}
{{- define "certjob.looksByVersion" -}}
{{- $has := .Capabilities.APIVersions -}}
{{- if eq .Values.look "resource-version" }}true
{{- else if or (eq .Values.look "policy") ($has.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy") }}
{{- else if or ($has.Has "v1/ConfigMap") (semverCompare "<1.36.0-0" .Capabilities.KubeVersion.Version) }}true
{{- end }}
{{- end }}

{{- /* Whether the sweep may complete spec.tls: "true", or empty. */ -}}
{{- define "certjob.completeTls" -}}
{{- if or .Values.completeTls .Values.options.completeTls }}true{{ end }}
{{- end }}

{{- /* What is the same stays, what is not is another Job: see the manifest of it. */ -}}
{{- define "certjob.bootstrap.name" -}}
certjob-bootstrap-{{ .Chart.AppVersion | lower | replace "." "-" | replace "+" "-" | trunc 20 }}-
{{- include "certjob.bootstrap.spec" . | sha256sum | trunc 10 }}
{{- end }}

{{- define "certjob.kept" -}}
annotations:
  helm.sh/resource-policy: keep
{{- end }}

{{- define "certjob.monitoringLabels" -}}
{{- with .Values.monitoring.labels }}{{ toYaml . }}{{ end }}
{{- end }}

{{- define "certjob.routePolicy" -}}
{{- with .Values.routePolicy }}data: {{- toYaml . | nindent 2 }}{{ end }}
{{- end }}

{{- define "certjob.apiServer" -}}
{{- range .Values.networkPolicies.apiServer }}
- ipBlock: {cidr: {{ . | quote }}}
{{- end }}
{{- end }}

{{- /* The spec of a pod that tests, by its service account and its command. */ -}}
{{- define "certjob.testPod" -}}
{{- $root := index . 0 -}}
{{- with include "certjob.placement" (list $root $root.Values.sweep) }}{{ . | trim }}
{{ end -}}
automountServiceAccountToken: true
containers:
- command: {{ concat (list "python" "-m" "issuer_job") (slice . 2) | toJson }}
  env:
  - name: CERTJOB_NAMESPACE
    valueFrom:
      fieldRef:
        fieldPath: metadata.namespace
  image: {{ include "certjob.image" (list $root "job") }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  name: test
  resources: {{- toYaml $root.Values.sweep.resources | nindent 4 }}
  securityContext:
    allowPrivilegeEscalation: false
    capabilities:
      drop:
      - ALL
    readOnlyRootFilesystem: true
enableServiceLinks: false
priorityClassName: {{ $root.Values.sweep.priorityClassName }}
restartPolicy: Never
securityContext:
  runAsGroup: 65532
  runAsNonRoot: true
  runAsUser: 65532
  seccompProfile:
    type: RuntimeDefault
serviceAccountName: {{ index . 1 }}
terminationGracePeriodSeconds: 5
{{- end }}
