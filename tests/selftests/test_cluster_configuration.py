"""The local cluster's settings, configuration files and command lines."""

import json
from pathlib import Path

import pytest

from tests.cluster import config, parts, pki, settings
from tests.cluster.images import pip_configuration
from tests.cluster.report import ClusterError

STATE = Path("/state")
SETTINGS = settings.Settings(cache=Path("/cache"), state=STATE, nonce_reject=50, retry_after=3, throttle="7s")


def test_settings_follow_the_environment():
    chosen = settings.from_environment(
        {"XDG_CACHE_HOME": "/c", "CERTJOB_PEBBLE_NONCEREJECT": "50", "CERTJOB_TRAEFIK_THROTTLE": "9s"}
    )
    assert (chosen.cache, chosen.state) == (Path("/c/certjob"), Path("/c/certjob/cluster"))
    assert (chosen.nonce_reject, chosen.retry_after, chosen.throttle) == (50, 0, "9s")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CERTJOB_PEBBLE_NONCEREJECT", "101"),
        ("CERTJOB_PEBBLE_NONCEREJECT", "many"),
        ("CERTJOB_PEBBLE_RETRYAFTER", "-1"),
        ("CERTJOB_CLUSTER_STATE", "relative/path"),
        ("CERTJOB_CLUSTER_STATE", "/" + "x" * settings.LONGEST_STATE_PATH),
    ],
)
def test_a_bad_setting_is_named(name, value):
    with pytest.raises(ClusterError, match=name):
        settings.from_environment({name: value})


def test_two_state_directories_have_two_control_groups():
    other = settings.from_environment({"XDG_CACHE_HOME": "/c", "CERTJOB_CLUSTER_STATE": "/other"})
    default = settings.from_environment({"XDG_CACHE_HOME": "/c"})
    assert default.cgroup == "certjob-cluster"
    assert other.cgroup.startswith("certjob-")
    assert other.cgroup != default.cgroup


def test_pebble_validates_through_traefik_and_takes_the_settings():
    pebble = json.loads(config.pebble(SETTINGS))["pebble"]
    assert (pebble["httpPort"], pebble["tlsPort"]) == (80, 443)
    assert pebble["retryAfter"] == {"authz": 3, "order": 3}
    assert pebble["profiles"]["ten-minutes"]["validityPeriod"] == 600
    assert parts.all_parts(SETTINGS)["pebble"].env["PEBBLE_WFE_NONCEREJECT"] == "50"


def test_pods_have_no_search_list_because_dns_answers_every_name():
    kubelet = json.loads(config.kubelet(SETTINGS))
    assert kubelet["clusterDomain"] == ""
    assert kubelet["clusterDNS"] == [settings.NODE_IP]
    assert kubelet["cgroupRoot"] == f"/{SETTINGS.cgroup}"


def test_traefik_throttles_as_set_and_its_class_is_the_default():
    assert "--providers.providersthrottleduration=7s" in parts.all_parts(SETTINGS)["traefik"].argv
    ingress_class = json.loads(config.ingress_controller())["items"][0]
    assert ingress_class["metadata"]["annotations"] == {"ingressclass.kubernetes.io/is-default-class": "true"}


def test_no_token_is_on_a_command_line():
    words = [word for part in parts.all_parts(SETTINGS).values() for word in part.argv]
    assert [word for word in words if "token=" in word] == [
        "--providers.kubernetesingress.token=/state/pki/traefik.token"
    ]


def test_the_kubelet_is_a_member_of_the_nodes_group():
    line = pki.token_line("secret", "kubelet", *pki.USERS["kubelet"])
    assert line == f'secret,system:node:{settings.NODE_NAME},kubelet,"system:nodes"'


def test_pip_settings_of_the_environment_become_a_file():
    assert pip_configuration({"PIP_INDEX_URL": "https://index.example/simple"}).splitlines() == [
        "[global]",
        "index-url = https://index.example/simple",
    ]
    assert pip_configuration({}) == ""
