"""Site files: the built-in sites and the documented example.

Both pass the contract of sites.
"""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

from rps_core.config import settings
from rps_core.hooks.manager import GROUP, Plugins
from rps_core.hooks.site_files import SiteFilePoint
from rps_core.models import Claim, Host
from rps_core.testing import MISSING, Answer, RecordedShell, SiteContract
from tests.contract import test_sites, test_tscc_site

ROOT = Path(__file__).parents[2]
DETECT = {
    "comet": """
        scheduler: {name: slurm, gpu_directive: gres}
        detect:
          login_hosts: [comet-ln<N>]
          compute_nodes: [comet-<N>-<N>]
          possible_hosts: [comet.sdsc.edu, comet-*.sdsc.edu, "*.comet.sdsc.edu"]
          cluster_name: comet
          commands: [sbatch]
        """,
    "stratus": """
        scheduler: {name: slurm, gpu_directive: gres}
        detect:
          login_hosts: [tscc-stratus]
          possible_hosts: [tscc-stratus*.sdsc.edu, stratus*.sdsc.edu, "*.stratus.sdsc.edu"]
          cluster_name: stratus
          commands: [sbatch]
        """,
    "tscc": """
        scheduler: torque
        detect:
          login_hosts: [tscc-login<N>]
          commands: [qsub]
        """,
}
NAMES = (
    *test_sites.TestComet.login_hosts, *test_sites.TestComet.other_hosts,
    *test_sites.TestStratus.login_hosts, *test_sites.TestStratus.other_hosts,
    *test_tscc_site.TestTscc.login_hosts, *test_tscc_site.TestTscc.other_hosts,
    "comet-login7", "login7", "tscc-stratus2", "stratus-login1", "laptop",
)  # fmt: skip
DOMAINS = ("", ".sdsc.edu", ".comet.sdsc.edu", ".stratus.sdsc.edu", ".sdsc.edu.evil.org")
COMMANDS = ((), ("sbatch",), ("qsub",), ("sbatch", "qsub"))


def as_file(name: str, directory: Path) -> Path:
    """Return the facts of a built-in site's plugin, and its site.yaml, as one site file."""
    packaged = (ROOT / f"sites/{name}/rps_{name}/site.yaml").read_text()
    without = re.sub(r"^scheduler:\n  gpu_directive: gres\n", "", packaged, flags=re.MULTILINE)
    lines = [line.removeprefix(" " * 8) for line in DETECT[name].strip("\n").splitlines()]
    path = directory / f"{name}.yaml"
    path.write_text("\n".join([*lines, without]))
    return path


def documented(directory: Path) -> Path:
    """Return the example of docs/sites.md."""
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/sites.md").read_text(), re.DOTALL)
    path = directory / "expanse.yaml"
    path.write_text(example)
    return path


@pytest.fixture
def _as_a_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    contract = request.instance
    directory = tmp_path_factory.mktemp("sites")
    if contract.cluster == "expanse":
        contract.site_file = documented(directory)
    else:
        contract.site_file = as_file(contract.cluster, directory)


@pytest.mark.usefixtures("_as_a_file")
class TestCometAsAFile(test_sites.TestComet):
    pass


@pytest.mark.usefixtures("_as_a_file")
class TestStratusAsAFile(test_sites.TestStratus):
    pass


@pytest.mark.usefixtures("_as_a_file")
class TestTsccAsAFile(test_tscc_site.TestTscc):
    pass


@pytest.mark.usefixtures("_as_a_file")
class TestExpanse(SiteContract):
    cluster = "expanse"
    login_hosts = ("login01", "login02")
    other_hosts = ("exp-1-01", "comet-ln1", "login", "login01x")

    def host(self, hostname: str) -> Host:
        there = {name: f"/usr/bin/{name}" for name in self.commands}
        return Host(hostname=hostname, fqdn=f"{hostname}.expanse.sdsc.edu", commands=there)


Facts = tuple[str, bool, bool]


def claims(plugins: Plugins, host: Host) -> dict[str, list[Facts]]:
    """Return what is claimed of this host for each cluster of `DETECT`."""
    found: dict[str, list[Facts]] = {name: [] for name in DETECT}
    for claim in plugins.detect(host, wanted="local").claims:
        if claim.cluster.name in DETECT:
            found[claim.cluster.name].append(facts(claim))
    assert plugins.broken == []
    return found


def facts(claim: Claim) -> Facts:
    return claim.cluster.scheduler, claim.unusable is not None, claim.cluster_name is not None


@pytest.mark.parametrize("calls_itself", ["comet", "stratus", None])
def test_each_built_in_site_as_a_file_claims_the_same_hosts(
    calls_itself: str | None, tmp_path: Path
) -> None:
    """A usable host, one that is refused, and one that depends on Slurm's answer."""
    answer = Answer(0, f"ClusterName             = {calls_itself}\n") if calls_itself else MISSING
    points = list(entry_points(group=GROUP))
    shell = RecordedShell({"scontrol show config": answer})
    plugins = Plugins(points, shell=shell)
    files = Plugins(
        points, shell=shell, files=[SiteFilePoint(as_file(name, tmp_path)) for name in DETECT]
    )
    claimed = dict.fromkeys(DETECT, 0)
    for hostname in NAMES:
        for domain in DOMAINS:
            for commands in COMMANDS:
                there = {command: f"/usr/bin/{command}" for command in commands}
                host = Host(hostname=hostname, fqdn=f"{hostname}{domain}", commands=there)
                expected, found = claims(plugins, host), claims(files, host)
                if commands == ("sbatch",):
                    # Its plugin knows that it may have moved to Slurm: that takes Python.
                    del expected["tscc"], found["tscc"]
                assert found == expected, (hostname, domain, commands)
                for name, one in expected.items():
                    claimed[name] += len(one)
    assert all(claimed.values())


@pytest.mark.parametrize("name", DETECT)
def test_a_built_in_site_as_a_file_has_the_same_settings(name: str, tmp_path: Path) -> None:
    points = list(entry_points(group=GROUP))
    found = []
    for files in ([], [SiteFilePoint(as_file(name, tmp_path))]):
        plugins = Plugins(points, files=files)
        (cluster,) = [one for one in plugins.clusters() if one.name == name]
        site = plugins.site(cluster)
        loaded = settings.load(name, site.scheduler_config(), site.site_config(), environment={})
        found.append((cluster, loaded))
    (_, by_plugin), (_, by_file) = found
    assert found[0][0] == found[1][0]
    assert by_file.settings == by_plugin.settings
    packaged = yaml.safe_load((ROOT / f"sites/{name}/rps_{name}/site.yaml").read_text())
    line = by_file.origins["proxy.domain"]
    assert line.layer == "site file"
    path, number = line.where.rsplit(":", 1)
    assert packaged["proxy"]["domain"] in Path(path).read_text().splitlines()[int(number) - 1]
