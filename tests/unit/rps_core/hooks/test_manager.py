"""Discovery, isolation, detection and scoping, with real entry points and modules."""

import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from importlib.metadata import EntryPoint, entry_points
from importlib.resources.abc import Traversable
from pathlib import Path

import pytest

from rps_core import hookspecs
from rps_core.errors import DetectionError, RpsError
from rps_core.hooks import manager as plugins
from rps_core.hooks.manager import Plugins
from rps_core.hooks.site import Site
from rps_core.models import Allocation, Cluster, Host, SessionSpec
from rps_core.system.shell import Finished

Write = Callable[[str, str], EntryPoint]

LAPTOP = Host(hostname="laptop", fqdn="laptop", commands={})
SLURM_HOST = Host(hostname="x1", fqdn="x1.example", commands={"sbatch": "/usr/bin/sbatch"})
COMET_LOGIN = Host(hostname="comet-ln2", fqdn="comet-ln2", commands={"sbatch": "/usr/bin/sbatch"})


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a plugin module; answers its entry point."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write_module(name: str, body: str) -> EntryPoint:
        (tmp_path / f"plugin_{name}.py").write_text(
            "from rps_core.plugin import Claim, Cluster, Host, hookimpl\n"
            f"HERE = Cluster(name={name!r}, site={name!r}, scheduler='slurm')\n{body}\n"
        )
        sys.modules.pop(f"plugin_{name}", None)
        return EntryPoint(name=name, value=f"plugin_{name}", group="rps")

    return write_module


CLAIMING = """
@hookimpl
def rps_clusters():
    return [HERE]

@hookimpl
def rps_detect_cluster(host):
    return Claim(cluster=HERE, reasons=("it says so",)) if host.hostname == "laptop" else None
"""


def slurm_answers(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
    """Return Slurm 22.05's output (tests/contract/recorded/slurm)."""
    del stdin, timeout
    up = "Slurmctld(primary) at mgr is UP\n"
    return (
        Finished(argv, 0, up, "")
        if argv[-2:] == ("scontrol", "ping")
        else Finished(argv, 2, "", "")
    )


def installed(*more: EntryPoint) -> Plugins:
    return Plugins([*entry_points(group="rps"), *more], shell=slurm_answers)


def test_this_hosts_programs_are_those_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test any name: the core knows no scheduler's commands."""
    program = tmp_path / "toysub"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    commands = plugins.this_host().commands
    assert len(commands) == 0
    assert commands.get("toysub") == str(program)
    assert "sbatch" not in commands
    assert dict(commands) == {"toysub": str(program)}


def test_what_is_shipped_is_sound() -> None:
    found = installed()
    assert found.broken == []
    names = {cluster.name for cluster in found.clusters()}
    assert {"local", "generic", "comet"} <= names


@pytest.mark.parametrize(
    ("host", "cluster"), [(LAPTOP, "local"), (SLURM_HOST, "generic"), (COMET_LOGIN, "comet")]
)
def test_detection_takes_the_site_that_claims_else_a_built_in_one(host: Host, cluster: str) -> None:
    detection = installed().detect(host)
    assert detection.cluster.name == cluster
    assert all(detection.reasons)


@pytest.mark.parametrize(
    "hostname",
    ["comet-ln", "comet-ln2x", "xcomet-ln2", "comet-ln2.evil", "COMET-LN2", "comet"],
)
def test_comet_is_matched_in_full(hostname: str) -> None:
    host = Host(hostname=hostname, fqdn=hostname, commands={"sbatch": "/usr/bin/sbatch"})
    assert installed().detect(host).cluster.name == "generic"


def test_a_slurm_that_ships_qsub_is_slurm() -> None:
    host = Host(
        hostname="x", fqdn="x", commands={"qsub": "/usr/bin/qsub", "sbatch": "/usr/bin/sbatch"}
    )
    assert installed().detect(host).cluster.scheduler == "slurm"


def test_two_claims_are_an_error_that_names_both(write: Write) -> None:
    found = installed(write("alpha", CLAIMING), write("beta", CLAIMING))
    with pytest.raises(DetectionError) as caught:
        found.detect(LAPTOP)
    assert "alpha" in str(caught.value)
    assert "--cluster beta" in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_third_partys_site_is_detected_and_inherits_its_scheduler(write: Write) -> None:
    found = installed(write("alpha", CLAIMING))
    detection = found.detect(LAPTOP)
    assert detection.cluster.name == "alpha"
    assert "#SBATCH --time=00:30:00" in found.site(detection.cluster).render_batch(spec())


def test_asking_for_a_cluster_overrules_detection() -> None:
    assert installed().detect(LAPTOP, "comet").cluster.name == "comet"
    with pytest.raises(DetectionError) as caught:
        installed().detect(LAPTOP, "comte")
    assert "Known clusters: comet, generic" in caught.value.hint


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
        ("raise SystemError('at import')", "at import"),
        ("@hookimpl\ndef rps_detect_cluster(hots): ...", "hots"),
        ("@hookimpl\ndef rps_detect_clsuter(host): ...", "rps_detect_clsuter"),
        (
            "@hookimpl\ndef rps_clusters(): ...\n"
            "@hookimpl\ndef rps_detect_cluster(host): raise ValueError('in the hook')",
            "in the hook",
        ),
    ],
)
def test_a_broken_plugin_costs_only_itself(write: Write, body: str, message: str) -> None:
    found = installed(write("alpha", body))
    assert found.detect(LAPTOP).cluster.name == "local"
    assert found.detect(SLURM_HOST).cluster.name == "generic"
    assert found.detect(COMET_LOGIN).cluster.name == "comet"
    assert [broken.plugin for broken in found.broken][:1] == ["alpha"]
    assert message in found.broken[0].reason


def test_another_sites_hooks_are_never_asked(write: Write) -> None:
    greedy = "@hookimpl(tryfirst=True)\ndef rps_render_batch(cluster, spec): return 'mine'"
    found = installed(write("alpha", greedy))
    comet = found.detect(COMET_LOGIN).cluster
    assert found.site(comet).render_batch(spec()).startswith("#!/bin/bash\n#SBATCH")


def test_a_site_overrides_one_step(write: Write) -> None:
    found = installed(
        write("alpha", CLAIMING + "@hookimpl\ndef rps_default_allocation(): return 'abc123'\n")
    )
    site = found.site(found.detect(LAPTOP).cluster)

    def no_shell(*_argv: str, **_options: object) -> typing.NoReturn:
        raise AssertionError("the scheduler was asked")

    assert site.default_allocation(no_shell) == "abc123"


def test_a_step_without_an_answer_is_named() -> None:
    found = installed()
    site = Site(
        Cluster(name="x", site="generic", scheduler="slurm"),
        found._registered,
        ("generic", "comet"),
        ("slurm",),
    )
    with pytest.raises(RpsError, match="rps_render_batch"):
        site.render_batch(spec())


def test_a_missing_scheduler_is_named() -> None:
    with pytest.raises(DetectionError, match="`nqs`, whose plugin is not installed"):
        installed().site(Cluster(name="x", site="generic", scheduler="nqs"))


def test_a_blocked_plugin_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPS_BLOCK", "comet, generic")
    assert {cluster.name for cluster in Plugins.load().clusters()} & {"comet", "generic"} == set()


def test_every_hook_is_documented_and_implemented_with_the_specs_types() -> None:
    """pluggy checks names of arguments only; a reader trusts the annotations too."""
    import rps_core.jobs
    import rps_core.models
    import rps_core.state.store
    import rps_core.system.shell
    import rps_core.traits

    scope = {
        **vars(typing),
        **vars(rps_core.jobs),
        **vars(rps_core.models),
        **vars(rps_core.traits),
        **vars(rps_core.system.shell),
        **vars(rps_core.state.store),
        "Mapping": Mapping,
        "Path": Path,
        "Sequence": Sequence,
        "Traversable": Traversable,
    }
    specs = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("rps_")}
    assert len(specs) == 31
    for name, spec_function in specs.items():
        assert (spec_function.__doc__ or "").strip(), name
    implemented = set()
    for point in entry_points(group="rps"):
        module = point.load()
        for name in set(vars(module)) & set(specs):
            implemented.add(name)
            wanted = typing.get_type_hints(specs[name], scope)
            given = typing.get_type_hints(getattr(module, name), scope)
            result, allowed = given.pop("return"), wanted.pop("return")
            assert given.items() <= wanted.items(), f"{point.name}.{name}"
            assert result == allowed or result in typing.get_args(allowed), f"{point.name}.{name}"
    assert {"rps_detect_cluster", "rps_render_batch", "rps_submit", "rps_poll"} <= implemented


def spec() -> SessionSpec:
    return SessionSpec(
        name="one-two-three",
        tag="rps:one-two-three:1",
        app="lab",
        template=Path(plugins.__file__).parents[1] / "batch" / "jupyterlab.sh",
        session_dir=Path("/home/a b/it's/session"),
        directory=Path("/home"),
        allocation=Allocation(walltime=timedelta(minutes=30)),
    )


def test_a_site_that_no_host_is_recognised_by_is_named(write: Write) -> None:
    served = "@hookimpl\ndef rps_clusters(): return [HERE]\n"
    found = installed(write("alpha", served), write("beta", CLAIMING))
    assert found.undetected() == ["alpha"]
    assert {"alpha", "beta", "generic", "local"} <= set(found.names())


def test_the_built_in_sites_are_asked_only_where_no_site_claims() -> None:
    claims = installed().detect(COMET_LOGIN).claims
    assert {claim.cluster.name for claim in claims} == {"comet"}


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (
            Host(hostname="comet-14-01", fqdn="comet-14-01", commands={"sbatch": "/x"}),
            "compute node",
        ),
        (Host(hostname="comet-ln2", fqdn="comet-ln2", commands={}), "`sbatch` is not on the PATH"),
    ],
)
def test_a_host_of_the_cluster_that_cannot_start_sessions_is_reported(
    host: Host, message: str
) -> None:
    with pytest.raises(DetectionError, match=message):
        installed().detect(host)
    assert installed().detect(host, "comet").cluster.name == "comet"


def test_a_scheduler_is_loaded_with_the_site_that_names_it(write: Write) -> None:
    module = write("other", "LOADED = True").value
    broken = EntryPoint(name="scheduler.other", value="nowhere_to_be_found", group="rps")
    unneeded = EntryPoint(name="scheduler.unneeded", value=module, group="rps")
    found = installed(unneeded, broken)
    found.site(found.detect(COMET_LOGIN).cluster)
    assert module not in sys.modules
    assert found.broken == []
    with pytest.raises(DetectionError, match="broken: ModuleNotFoundError"):
        found.site(Cluster(name="x", site="comet", scheduler="other"))
    found.load_schedulers()
    assert module in sys.modules
    assert [each.plugin for each in found.broken] == ["scheduler.other"]
