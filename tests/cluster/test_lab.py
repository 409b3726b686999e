"""The test cluster has the properties that other tests rely on.

Nothing of rps runs here except the service.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cluster.hosts import Account
from tests.cluster.lab import ALICE, BOB, Cluster
from tests.cluster.network import ADDRESSES, DOMAINS, LOGINS, NODES
from tests.cluster.services import Service
from tests.stands.waiting import until


def printed(cluster: Cluster, host: str, *argv: str, user: Account | None = ALICE) -> str:
    done = cluster.hosts[host].run(argv, user, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_hosts_have_names_processes_and_addresses_of_their_own(cluster: Cluster) -> None:
    for name, addresses in ADDRESSES.items():
        assert printed(cluster, name, "hostname", "--short") == name
        assert printed(cluster, name, "hostname", "--fqdn") == f"{name}.local"
        assert printed(cluster, name, "hostname", "--all-ip-addresses").split() == list(addresses)
        assert printed(cluster, name, "cat", "/proc/1/comm") == "host.sh"


def test_the_home_directory_is_shared_and_tmp_is_not(cluster: Cluster) -> None:
    printed(cluster, "comet-ln2", "touch", "/home/alice/seen", "/tmp/unseen")
    for node in NODES:
        assert printed(cluster, node, "stat", "--format=%U", "/home/alice/seen") == "alice"
        assert cluster.hosts[node].run(["test", "-e", "/tmp/unseen"]).returncode != 0
    assert not Path("/tmp/unseen").exists()
    looked = cluster.hosts["comet-ln2"].run(["ls", "/home/alice"], BOB, capture_output=True)
    assert "Permission denied" in looked.stderr


@pytest.mark.parametrize("host", LOGINS)
def test_a_job_runs_on_a_node_as_its_owner_and_is_accounted(cluster: Cluster, host: str) -> None:
    output = cluster.home / "alice" / f"from-{host}"
    wrap = "--wrap=hostname; id --user --name"
    job = printed(cluster, host, "sbatch", "--parsable", f"--output=from-{host}", wrap)
    question = ("sacct", "--jobs", job, "--allocations", "--noheader", "--parsable2",
                "--format=account,state")  # fmt: skip
    until(lambda: printed(cluster, host, *question) == "abc123|COMPLETED", "the job in accounting")
    node, user = output.read_text().split()
    assert node in NODES
    assert user == "alice"


def test_partitions_and_accounts(cluster: Cluster) -> None:
    partitions = printed(cluster, "comet-ln2", "sinfo", "--noheader", "--format=%P %l").split("\n")
    assert {"compute* 2-00:00:00", "debug 30:00", "shared 2-00:00:00"} <= set(partitions)
    assert "gpu:k80:2" in printed(
        cluster, "comet-ln2", "sinfo", "--noheader", "--partition=gpu-shared", "--format=%G"
    )
    question = ("sacctmgr", "--noheader", "--parsable2", "show", "user")
    assert printed(cluster, "comet-ln2", *question, "alice", "format=defaultaccount") == "abc123"
    assert printed(cluster, "comet-ln2", *question, "bob", "format=defaultaccount") == "xyz789"


def test_no_user_cancels_another_users_job(cluster: Cluster) -> None:
    job = printed(cluster, "comet-ln2", "sbatch", "--parsable", "--hold", "--wrap=true")
    tried = cluster.hosts["comet-ln2"].run(["scancel", job], BOB, capture_output=True)
    printed(cluster, "comet-ln2", "scancel", job)
    assert "Access/permission denied" in tried.stderr


def test_torques_commands_are_there(cluster: Cluster) -> None:
    (cluster.home / "alice" / "job.sh").write_text("#!/bin/sh\nsleep 60\n")
    job = printed(cluster, "tscc-login1", "qsub", "-l", "nodes=1:ppn=1,walltime=00:05:00", "job.sh")
    shown = printed(cluster, "tscc-login1", "qstat", job)
    printed(cluster, "tscc-login1", "qdel", job)
    assert job in shown


def test_from_outside_only_the_services_can_be_reached(
    cluster: Cluster, services: dict[str, Service]
) -> None:
    node = cluster.hosts[NODES[0]]
    for address in DOMAINS.values():
        assert cluster.reaches("outside", address, 443)
    quiet = subprocess.DEVNULL
    serving = "import http.server as s; s.test(s.SimpleHTTPRequestHandler, port=30000)"
    server = node.popen(["/usr/bin/python3", "-c", serving], stdout=quiet, stderr=quiet)
    try:
        address = ADDRESSES[node.name][0]
        until(lambda: cluster.reaches("proxy", address, 30000), "a server")
        assert not cluster.reaches("outside", address, 30000)
    finally:
        server.kill()
        server.wait()
    for name, addresses in ADDRESSES.items():
        if name not in ("proxy", "outside"):
            assert not cluster.reaches("outside", addresses[0], 6817)


def test_the_cluster_is_an_island(cluster: Cluster) -> None:
    """Test that no host of the cluster can reach the machine's own network."""
    for host in (cluster.router, *cluster.hosts.values()):
        links = host.run(["ip", "-brief", "link"], capture_output=True, check=True).stdout
        assert all(line.split("@")[0].split()[0] in known(line) for line in links.splitlines())
    routes = cluster.router.run(["ip", "route"], capture_output=True, check=True).stdout
    assert "default" not in routes


def known(line: str) -> tuple[str, ...]:
    cables = tuple(f"cable{index}" for index in range(len(ADDRESSES)))
    return ("lo", "eth0", "cluster", "outside", *cables)
