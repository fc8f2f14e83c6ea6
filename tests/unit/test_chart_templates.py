"""How objects of the manifests become templates, and values.yaml a schema. `test_chart.py` has Helm itself."""

from __future__ import annotations

import pytest

from supply.chart import values
from supply.chart.templates import HEADER, Json, Row, Table, Variant, merged, templates

CRON: Json = {
    "kind": "CronJob",
    "metadata": {"name": "sweep", "namespace": "certjob"},
    "spec": {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "pod": {"limits": {"memory": "1Gi"}}},
}
OLDER: Json = {**CRON, "spec": {**CRON["spec"], "env": [*CRON["spec"]["env"], {"name": "C", "value": "3"}]}}
KEY = ("CronJob", "sweep")


def made(*objects: Json, older: list[Json] | None = None, **changes: object) -> dict[str, str]:
    fields = {"rows": [], "conditions": {}, "left_out": frozenset(), "variants": [], "named_by_spec": {}} | changes
    variants = {} if older is None else {"older": older}
    if older is not None:
        fields["variants"] = [Variant("older", ".old")]
    found = templates(Table(**fields), objects, variants)  # type: ignore[arg-type]
    return {name: text.removeprefix(HEADER) for name, text in found.items()}


def test_rows_name_values_by_path_and_trees_are_indented_below_their_key() -> None:
    rows = [
        Row(KEY, "/spec/env/name=B/value", "{{ b }}"),
        Row(KEY, "/spec/pod/limits", "toYaml .limits", tree=True),
        Row(KEY, "/spec/pod/more", 'include "more" .', add=True),
    ]
    assert made(CRON, rows=rows) == {
        "cronjob.yaml": "kind: CronJob\n"
        "metadata:\n"
        "  name: sweep\n"
        "  namespace: {{ .Release.Namespace | quote }}\n"
        "spec:\n"
        "  env:\n"
        "  - name: A\n"
        "    value: '1'\n"
        "  - name: B\n"
        "    value: {{ b }}\n"
        "  pod:\n"
        "    limits: {{- toYaml .limits | nindent 6 }}\n"
        '{{- with include "more" . }}{{ . | nindent 4 }}{{- end }}\n'
    }


def test_what_another_installation_has_more_is_under_its_condition() -> None:
    text = made(CRON, older=[OLDER])["cronjob.yaml"]
    assert "    value: '2'\n{{- if .old }}\n  - name: C\n    value: '3'\n{{- end }}\n  pod:\n" in text


@pytest.mark.parametrize(("base", "older"), [([CRON], []), ([], [CRON])])
def test_what_only_one_installation_has_is_there_for_that_alone(base: list[Json], older: list[Json]) -> None:
    condition = "not (.old)" if base else ".old"
    text = made(*base, older=older)["cronjob.yaml"]
    assert text.startswith(f"{{{{- if {condition} }}}}\nkind: CronJob\n")
    assert text.endswith("{{- end }}\n")


def test_a_name_by_the_spec_has_that_apart_with_what_is_indented_in_it() -> None:
    rows = [Row(KEY, "/spec/pod/limits", "toYaml .limits", tree=True)]
    text = made(CRON, rows=rows, named_by_spec={KEY: "the.spec"})["cronjob.yaml"]
    assert text.startswith('{{- define "the.spec" -}}\nenv:\n- name: A\n')
    assert "\npod:\n  limits: {{- toYaml .limits | nindent 4 }}\n{{- end }}\nkind: CronJob\n" in text
    assert text.endswith('\nspec:\n{{- include "the.spec" . | nindent 2 }}\n')


def test_the_namespace_is_the_releases_in_fields_and_in_conditions() -> None:
    policy = {"kind": "Policy", "metadata": {"name": "a"}, "expression": "x == 'system:serviceaccount:certjob:job'"}
    text = made(policy)["policy.yaml"]
    assert "expression: x == 'system:serviceaccount:{{ .Release.Namespace }}:job'\n" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": [Row(KEY, "/spec/none", "x")]},
        {"rows": [Row(KEY, "/spec/env", "x", add=True)]},
        {"rows": [Row(("CronJob", "other"), "/spec/env", "x")]},
        {"conditions": {("Job", "*"): "x"}},
        {"named_by_spec": {("Job", "x"): "x"}},
    ],
)
def test_what_of_the_table_nothing_answers_to_is_told(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"nothing answers to|no object"):
        made(CRON, **changes)


def test_what_a_template_would_take_for_its_own_is_written_as_text() -> None:
    assert "text: '{{ \"{{\" }} $value }} times'\n" in made(CRON | {"text": "{{ $value }} times"})["cronjob.yaml"]


def test_a_row_may_be_about_a_part_of_a_text() -> None:
    rows = [Row(KEY, "/spec/env/*/value", "{{ x }}", part="1")]
    assert "value: {{ x }}#one\n" in made(CRON | {"spec": {"env": [{"value": "1#one"}]}}, rows=rows)["cronjob.yaml"]


def test_two_variants_may_change_an_object_but_not_one_line() -> None:
    both = merged(["a", "b", "c"], {"x": ["a", "B", "c"], "y": ["a", "b", "c", "d"]})
    assert both == [
        "a", "{{- if not (x) }}", "b", "{{- else }}", "B", "{{- end }}", "c", "{{- if y }}", "d", "{{- end }}",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="two variants"):
        merged(["a", "b"], {"x": ["a", "1"], "y": ["a", "2"]})


VALUES = """
# How many.
count: 2
part:
  # Whether.
  # Or not.
  enabled: true

  # Which.
  name: ""
"""


def test_what_is_said_of_values_is_in_their_schema_and_table() -> None:
    found = values.read(VALUES)
    schema = values.schema(found, {"$defs": {}}, {"$defs": {}})
    assert schema["additionalProperties"] is False
    assert schema["properties"]["count"] == {"description": "How many.", "type": "integer"}
    part = schema["properties"]["part"]
    assert part["additionalProperties"] is False
    assert part["properties"]["enabled"] == {"description": "Whether. Or not.", "type": "boolean"}
    assert values.table(found).splitlines() == [
        "| `count` | `2` | How many. |",
        "| `part.enabled` | `true` | Whether. Or not. |",
        "| `part.name` | none | Which. |",
    ]


def test_a_value_of_which_nothing_is_said_is_told() -> None:
    with pytest.raises(ValueError, match="says nothing of count"):
        values.read("# Of another.\n\ncount: 2\n")


def test_issuers_and_options_mean_the_same_by_one_name() -> None:
    with pytest.raises(ValueError, match="HostRule"):
        values.schema(values.read(VALUES), {"$defs": {"HostRule": {"a": 1}}}, {"$defs": {"HostRule": {"a": 2}}})
