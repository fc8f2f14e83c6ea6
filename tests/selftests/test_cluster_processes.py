"""How the local cluster remembers, recognises and ends processes, and what it leaves behind."""

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest

from tests.cluster import cgroups, processes, sysctls
from tests.cluster.processes import Record
from tests.cluster.stop import mount_points


@pytest.fixture
def sleeper():
    with subprocess.Popen(["sleep", "60"]) as child:
        start = processes.start_of(child.pid)
        assert start is not None
        yield child, Record(name="sleeper", pid=child.pid, start=start, boot=processes.boot_id())
        child.kill()


def test_start_time_is_found_behind_a_command_with_spaces_and_parentheses():
    stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
    assert processes.parse_start(stat) == 4711


def test_a_zombie_is_gone():
    assert processes.parse_start("7 (x) Z " + " ".join("0" for _ in range(40))) is None


def test_the_recorded_process_is_ended(sleeper):
    child, record = sleeper
    processes.kill(record)
    assert child.wait(timeout=5) == -9


@pytest.mark.parametrize("change", [{"start": 1}, {"boot": "another boot"}])
def test_another_process_with_the_same_id_is_spared(sleeper, change):
    child, record = sleeper
    processes.kill(dataclasses.replace(record, **change))
    assert child.poll() is None


def test_ending_what_has_ended_is_nothing():
    record = Record(name="gone", pid=2**22 + 1, start=1, boot=processes.boot_id())
    processes.kill(record)
    assert not processes.is_running(record)


def test_records_survive_a_damaged_neighbour(tmp_path):
    record = Record(name="etcd", pid=os.getpid(), start=5, boot="b")
    processes.write_record(tmp_path, record)
    (tmp_path / "processes" / "half.json").write_text('{"name": "ha')
    assert processes.read_records(tmp_path) == {"etcd": record}


def test_mount_points_below_a_directory_come_deepest_first():
    lines = ["1 0 8:1 / / rw", "2 1 8:1 / /s/a rw", "3 1 8:1 / /s/a/b\\040c rw", "4 1 8:1 / /sx rw"]
    assert mount_points("\n".join(lines), Path("/s")) == [Path("/s/a/b c"), Path("/s/a")]


def test_members_are_read_from_every_tree_of_version_1(tmp_path):
    for tree, text in (("pids", "11\n12\n"), ("memory", "12\n13\n")):
        group = tmp_path / tree / "mine" / "kubepods"
        group.mkdir(parents=True)
        (tmp_path / tree / "cgroup.procs").touch()
        (group / "cgroup.procs").write_text(text)
    assert cgroups.members("mine", tmp_path) == {11, 12, 13}


def test_version_2_is_one_tree(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    assert cgroups.hierarchies(tmp_path) == [tmp_path]


def test_kernel_settings_are_put_back_as_they_were_before_the_first_start(tmp_path):
    root = tmp_path / "sys"
    for name in (*sysctls.CHANGED, sysctls.INOTIFY):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("0\n")
    sysctls.remember(tmp_path, root)
    (root / "kernel/panic").write_text("10")
    sysctls.remember(tmp_path, root)
    sysctls.restore(tmp_path, root)
    assert {(root / name).read_text().strip() for name in (*sysctls.CHANGED, sysctls.INOTIFY)} == {"0"}
