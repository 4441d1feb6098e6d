"""Memory limits of containers, read from made-up files of /proc and /sys."""

import pytest

from makar.core import device
from makar.core.cgroup import Allowance, allowances

V1 = "35 31 0:32 {top} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
V1_CPU = "32 31 0:29 {top} /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu"
V2 = "41 31 0:38 {top} /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw"
DISK = "22 1 8:1 / / rw,relatime - ext4 /dev/root rw,errors=remount-ro"
NO_LIMIT = 9223372036854771712  # as version 1 says it


@pytest.fixture
def machine(tmp_path):
    """A machine whose process is in some groups."""

    def make(member, *mounts):
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(member)
        (tmp_path / "proc/self/mountinfo").write_text("\n".join((DISK, *mounts)) + "\n")
        return tmp_path

    return make


def group(root, path, limit, usage, idle):
    """Write a group's files; those of version 1 lie below `memory`."""
    folder = root / "sys/fs/cgroup" / path
    folder.mkdir(parents=True, exist_ok=True)
    first = path.split("/")[0] == "memory"
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if first else ("memory.max", "memory.current")
    for name, value in zip(names, (limit, usage), strict=True):
        (folder / name).write_text(f"{value}\n")
    own = f"inactive_file 1\ntotal_inactive_file {idle}\n" if first else f"inactive_file {idle}\n"
    (folder / "memory.stat").write_text("anon 7\n" + own)


def test_a_nested_group_of_version_2_and_those_above_it(machine):
    root = machine("0::/a/b\n", V2.format(top="/"))
    group(root, "a/b", "max", 5, 5)
    group(root, "a", 100, 60, 10)
    assert allowances(root) == [Allowance(100, 50)]
    group(root, "a/b", 80, 40, 25)
    assert allowances(root) == [Allowance(80, 65), Allowance(100, 50)], "a neighbour fills the group above"


def test_a_nested_group_of_version_1_counts_what_is_below_it(machine):
    root = machine("9:name=systemd:/\n4:cpu,memory:/a/b\n1:cpu:/\n0::/\n", V1_CPU.format(top="/"), V1.format(top="/"))
    group(root, "memory", NO_LIMIT, 500, 0)
    group(root, "memory/a/b", 300, 200, 20)
    assert min(allowances(root)) == Allowance(300, 120)
    assert len(allowances(root)) == 2


@pytest.mark.parametrize(
    ("member", "top", "folder"),
    [
        ("4:memory:/docker/abc\n", "/docker/abc", "memory"),
        ("4:memory:/docker/abc/in\n", "/docker/abc", "memory/in"),
        ("4:memory:/docker/abc\n", "/", "memory"),
        ("4:memory:/../other\n", "/", "memory"),
    ],
    ids=["its own part", "inside of that", "a path that is not there", "outside"],
)
def test_a_container_that_sees_a_part_of_the_tree(machine, member, top, folder):
    root = machine(member, V1.format(top=top))
    group(root, folder, 300, 100, 0)
    assert allowances(root) == [Allowance(300, 200)]


def test_a_group_beyond_its_limit_has_nothing_left(machine):
    root = machine("0::/a\n", V2.format(top="/"))
    group(root, "a", 100, 130, 10)
    assert allowances(root) == [Allowance(100, 0)]


@pytest.mark.parametrize("member", ["", "0::/a\n", "3:cpu:/a\n"])
def test_where_nothing_limits_nothing_is_found(machine, member):
    assert allowances(machine(member, V1_CPU.format(top="/"))) == []


def test_without_proc_nothing_is_found(tmp_path):
    assert allowances(tmp_path) == []


def test_the_tightest_group_is_what_there_is(monkeypatch):
    monkeypatch.setattr(device, "allowances", lambda: [Allowance(3000, 2500), Allowance(4000, 1000)])
    assert device.memory("cpu") == 3000
    assert device.memory_available("cpu") == 1000
    monkeypatch.setattr(device, "allowances", list)
    assert 2**28 < device.memory_available("cpu") <= device.memory("cpu")
