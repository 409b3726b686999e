"""Detection of a scheduler by what real programs print with and without one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from rps_core.errors import DetectionError
from rps_core.hooks.manager import Detection, Plugins
from rps_core.models import Cluster, Host
from rps_core.schedulers.pbs import presence as torque_presence
from rps_core.schedulers.pbs.presence import _QUEUES as QUEUES
from rps_core.schedulers.pbs.product import product_of_qstat
from rps_core.schedulers.slurm import presence as slurm_presence
from rps_core.schedulers.slurm.presence import _PING as PING
from rps_core.sites import signs
from rps_core.sites.signs import _COMMANDS, _VARIABLES
from rps_core.system import paths
from rps_core.testing import MISSING, TIMEOUT, Answer, RecordedShell, Reply
from tests.contract.transcripts import read

Answers: TypeAlias = Mapping[Any, Reply]  # by the command, as RecordedShell takes them
SLURM = read("slurm/scontrol-ping.txt")
TORQUE = read("torque/qstat-q.txt")
PBS = read("openpbs/qstat-q.txt")
WRAPPERS = read("torque/slurm-wrappers.txt")
VERSION = ("qstat", "--version")
TORQUES: Answers = {VERSION: read("torque/qstat.txt")["--version"].answer}
PBS_OWN: Answers = {VERSION: Answer(0, "pbs_version = 23.06.06\n")}
WRAPPERS_VERSION: Answers = {VERSION: WRAPPERS["qstat --version"].answer}
UP: Answers = {PING: SLURM["the controller answers"].answer}
FILES = dict(signs._FILES)
DOWN: Answers = {PING: SLURM["no configuration"].answer}


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine that runs the tests."""
    monkeypatch.setattr(slurm_presence, "_PLACES", ())
    monkeypatch.setattr(torque_presence, "_SERVER_NAMES", ())
    monkeypatch.setattr(torque_presence, "_PBS_CONF", "/nowhere")
    monkeypatch.setattr("rps_core.sites.signs._FILES", {})
    for name in (
        "SLURM_CONF",
        "SLURM_CONF_SERVER",
        "PBS_DEFAULT",
        "PBS_SERVER",
        *_VARIABLES,
        "MODULEPATH",
    ):
        monkeypatch.delenv(name, raising=False)


SCHEDULERS = [point for point in entry_points(group="rps") if point.name.startswith("scheduler.")]


def broken(name: str) -> EntryPoint:
    return EntryPoint(name=name, value="nowhere_to_be_found", group="rps")


def host(*programs: str, name: str = "vm") -> Host:
    return Host(hostname=name, fqdn=name, commands={one: f"/nowhere/bin/{one}" for one in programs})


def detect(machine: Host, answers: Answers) -> tuple[Detection, int]:
    """Return the detected cluster, and how many commands were run."""
    shell = RecordedShell(dict(answers))
    plugins = Plugins(list(entry_points(group="rps")), shell=shell)
    found = plugins.detect(machine)
    assert plugins.broken == []
    return found, len(shell.calls)


def refused(machine: Host, answers: Answers) -> str:
    with pytest.raises(DetectionError) as caught:
        detect(machine, answers)
    assert "--cluster local" in caught.value.hint
    return caught.value.message


@pytest.mark.parametrize(
    ("machine", "answers", "cluster"),
    [
        (host("sbatch"), {PING: SLURM["the controller answers"].answer}, "generic"),
        (
            host("sbatch"),
            {PING: Answer(0, "Slurmctld(primary/backup) at mgr1/mgr2 are DOWN/UP\n")},
            "generic",
        ),
        (
            host("sbatch", "qsub"),
            {PING: SLURM["the controller answers"].answer, **WRAPPERS_VERSION},
            "generic",
        ),
        (host("qsub"), {QUEUES: TORQUE["the queues"].answer, **TORQUES}, "generic-torque"),
        (
            host("qsub"),
            {QUEUES: WRAPPERS["qstat -q"].answer, **WRAPPERS_VERSION},
            "generic-torque",
        ),
        (host("qsub"), {QUEUES: PBS["the queues"].answer, **PBS_OWN}, "generic-pbs"),
        (
            host("sbatch", "qsub"),  # a Torque's host with Debian's slurm-client
            {
                PING: SLURM["no configuration"].answer,
                QUEUES: TORQUE["the queues"].answer,
                **TORQUES,
            },
            "generic-torque",
        ),
    ],
    ids=["slurm", "its backup", "slurm and wrappers", "torque", "wrappers", "pbs", "torque first"],
)
def test_a_scheduler_counts_once_it_answers(machine: Host, answers: Answers, cluster: str) -> None:
    found, _ = detect(machine, answers)
    assert found.cluster.name == cluster
    assert found.note == ""
    assert detect(machine, {}) == (found, 0), "it is remembered: the second time nothing is run"


NO_SLURM = [
    ("no configuration", "Could not establish a configuration source"),
    (
        "no configuration, and a name server that does not answer",
        "Could not establish a configuration source",
    ),
    ("a slurm.conf of this machine alone", "Slurmctld(primary) at vm is DOWN"),
    ("a slurm.conf that cannot be read by Slurm", "Unable to process configuration file"),
]


@pytest.mark.parametrize(("title", "word"), NO_SLURM, ids=[title for title, _ in NO_SLURM])
def test_programs_of_slurm_without_a_cluster_are_local(title: str, word: str) -> None:
    machine = host("sbatch", "qsub")
    found, _ = detect(machine, {PING: SLURM[title].answer, **WRAPPERS_VERSION})
    assert found.cluster.name == "local"
    assert word in found.note
    assert "/nowhere/bin/sbatch" in found.note
    assert "\n" not in found.note
    assert detect(machine, {}) == (found, 0), "it is remembered"


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        (MISSING, "is not on the PATH"),
        (Answer(0, "", ""), "prints nothing"),
        (Answer(0, "", "warning: UP to date\n"), "UP to date"),
        (Answer(0, "Slurmctld everywhere is UP\n\x1b[2J\x07" + "x" * 5000, ""), "does not answer"),
        (Answer(127, "", "timeout: failed to run command 'scontrol'\n"), "failed to run"),
        (Answer(1, "\n \n", "\n"), "prints nothing"),
        (
            Answer(124, "", "error: s_p_parse_file: unable to status file /etc/slurm-llnl/slurm.conf"
            ": No such file or directory, retrying in 1sec up to 60sec\n"),
            "unable to status file",
        ),
    ],
    ids=["missing", "silent", "stderr alone", "garbage", "no scontrol", "blank", "Slurm 19.05"],
)  # fmt: skip
def test_what_is_no_answer_of_slurms_is_no_scheduler(reply: Reply, word: str) -> None:
    found, _ = detect(host("sbatch"), {PING: reply})
    assert found.cluster.name == "local"
    assert word in found.note
    assert found.note.isprintable()
    assert len(found.note) < 500


@pytest.mark.parametrize(
    ("title", "sign"),
    [
        ("the controller is gone", "Slurm's controller is comet-mgr"),
        ("two controllers elsewhere", "Slurm's controller is mgr1 or mgr2"),
        ("the controller is stopped, and the command ended", "waits for an answer"),
        ("the DNS names a controller that is down", "the DNS names a controller"),
    ],
)
def test_a_cluster_that_does_not_answer_is_refused(title: str, sign: str) -> None:
    assert sign in refused(host("sbatch"), {PING: SLURM[title].answer})
    assert detect(host("sbatch"), UP)[0].cluster.name == "generic", "it answers again"


def test_a_shell_that_ends_the_command_itself_is_taken_as_a_command_that_hangs() -> None:
    assert "waits for an answer" in refused(host("sbatch"), {PING: TIMEOUT})


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("SlurmctldHost=mgr(10.0.0.1)\n", "SlurmctldHost=mgr"),
        ("ControlMachine = mgr\n", "ControlMachine=mgr"),
        ("slurmctldhost=vm\nSlurmctldHost=mgr2 # backup\n", "SlurmctldHost=mgr2"),
        ("SlurmctldHost=vm.example.org\nNodeName=n[1-20] CPUs=4\n", "NodeName=n[1-20]"),
    ],
)
def test_a_slurm_conf_that_names_another_host_is_a_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sign: str
) -> None:
    """A head node whose slurmctld is down is a cluster's, too."""
    (tmp_path / "slurm.conf").write_text(text)
    silent = {PING: SLURM["a slurm.conf of this machine alone"].answer}
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    assert f"{tmp_path}/slurm.conf says {sign}" in refused(host("sbatch"), silent)
    monkeypatch.delenv("SLURM_CONF")
    monkeypatch.setattr(slurm_presence, "_PLACES", (str(tmp_path / "slurm.conf"),))
    assert sign in refused(host("sbatch"), silent)


def test_a_slurm_conf_beside_the_programs_is_read(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "slurm.conf").write_text("SlurmctldHost=mgr\n")
    machine = Host(hostname="vm", fqdn="vm", commands={"sbatch": str(tmp_path / "bin" / "sbatch")})
    assert "SlurmctldHost=mgr" in refused(machine, {PING: Answer(1, "", "fatal: broken\n")})


def test_a_slurm_conf_of_this_machine_alone_is_no_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "SlurmctldHost=VM\n#SlurmctldHost=mgr\nNodeName=DEFAULT CPUs=2\nNodeName=localhost\n"
    (tmp_path / "slurm.conf").write_text(text)
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    silent = {PING: SLURM["a slurm.conf of this machine alone"].answer}
    assert detect(host("sbatch"), silent)[0].cluster.name == "local"


@pytest.mark.parametrize(
    ("variable", "title"),
    [
        ("SLURM_CONF", "SLURM_CONF names no file"),
        ("SLURM_CONF_SERVER", "a slurm.conf that cannot be read by Slurm"),
    ],
)
def test_a_variable_that_leads_to_a_configuration_is_a_sign(
    variable: str, title: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "/nowhere/else")
    assert f"{variable} is /nowhere/else" in refused(host("sbatch"), {PING: SLURM[title].answer})


def test_without_generic_it_is_not_local_either() -> None:
    points = [point for point in entry_points(group="rps") if point.name != "generic"]
    gone: Answers = {PING: SLURM["the controller is gone"].answer}
    for reply in (gone, UP):
        with pytest.raises(DetectionError, match="No plugin claims this host"):
            Plugins(points, shell=RecordedShell(dict(reply))).detect(host("sbatch"))


@pytest.mark.parametrize("own", [TORQUES, PBS_OWN], ids=["torque", "pbs"])
@pytest.mark.parametrize(
    ("reply", "sign"),
    [
        (TORQUE["the server is gone"].answer, "names the server tscc-mgr7.local"),
        (PBS["the server is gone"].answer, "names the server tscc-mgr7.local"),
        (Answer(124, "", ""), "waits for an answer"),
        (TIMEOUT, "waits for an answer"),
    ],
    ids=["torque gone", "pbs gone", "frozen", "frozen for good"],
)
def test_a_server_that_does_not_answer_is_refused(own: Answers, reply: Reply, sign: str) -> None:
    assert sign in refused(host("qsub"), {QUEUES: reply, **own})


def test_without_trqauthd_the_configuration_names_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = {QUEUES: TORQUE["trqauthd is gone"].answer, **TORQUES}
    assert detect(host("qsub"), silent)[0].cluster.name == "local"
    name = tmp_path / "server_name"
    monkeypatch.setattr(torque_presence, "_SERVER_NAMES", (str(name),))
    name.write_text("vm.example.org\n")
    assert detect(host("qsub", name="VM"), silent)[0].cluster.name == "local"
    name.write_text("mgr1:15001,mgr2\n")
    assert "names the server mgr1:15001" in refused(host("qsub", name="b"), silent)
    name.unlink()
    (tmp_path / "pbs.conf").write_text("PBS_EXEC=/opt/pbs\nPBS_SERVER=mgr\n")
    monkeypatch.setenv("PBS_CONF_FILE", str(tmp_path / "pbs.conf"))
    assert "pbs.conf names the server mgr" in refused(host("qsub", name="c"), silent)
    monkeypatch.delenv("PBS_CONF_FILE")
    monkeypatch.setenv("PBS_DEFAULT", "mgr")
    assert "PBS_DEFAULT names the server mgr" in refused(host("qsub", name="d"), silent)


@pytest.mark.parametrize(
    "reply",
    [MISSING, Answer(0, "", ""), Answer(0, "", "Unknown option\n"), Answer(0, "hello\n", "")],
    ids=["missing", "silent", "stderr alone", "garbage"],
)
def test_what_is_no_answer_of_qstats_is_no_scheduler(reply: Reply) -> None:
    found, _ = detect(host("qsub"), {QUEUES: reply, VERSION: reply})
    assert found.cluster.name == "local"
    assert "`qstat -q`" in found.note


# What `qstat` prints for `--version` and `-q`: the words of Grid Engine's msg_clients_common.h, and of
# Cobalt's src/clients/POSIX/qstat.py, which hands -q to getopt.
_SGE = Answer(1, "", 'error: ERROR! invalid option argument "--version"\nUsage: qstat [options]\n')
_COBALT = Answer(0, "qstat $Revision: 1559 $\ncobalt 0.98.2\n")
_NO_OPTION_Q = Answer(1, "option -q not recognized\n")


@pytest.mark.parametrize(
    ("version", "queues", "command", "variable", "scheduler"),
    [
        (_SGE, _SGE, "qconf", "SGE_ROOT", "Grid Engine"),
        (_COBALT, _NO_OPTION_Q, "cqsub", "COBALT_JOBID", "Cobalt"),
    ],
    ids=["Grid Engine", "Cobalt"],
)
def test_the_qsub_of_another_scheduler_is_not_torques(
    version: Answer, queues: Answer, command: str, variable: str, scheduler: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    answers: Answers = {QUEUES: queues, VERSION: version}
    machine = host("qsub", command)
    assert scheduler in refused(machine, answers)
    assert detect_as(machine, answers).name == "local", "neither Torque's nor PBS's"
    monkeypatch.setenv(variable, "x")
    assert f"{variable}, of {scheduler}, is x" in refused(host("qsub"), answers)
    assert product_of_qstat(RecordedShell(dict(answers))) is None


def detect_as(machine: Host, answers: Answers) -> Cluster:
    """Return the cluster that a command without a scheduler uses."""
    plugins = Plugins(list(entry_points(group="rps")), shell=RecordedShell(dict(answers)))
    return plugins.detect(machine, inside=True).cluster


@pytest.mark.parametrize("command", _COMMANDS)
def test_a_command_of_a_scheduler_without_a_plugin_is_a_sign(command: str) -> None:
    """The notebook must not run on the login node for want of a plugin."""
    assert f"`{command}` of {_COMMANDS[command]} is there" in refused(host(command), {})
    assert detect(host(f"x{command}"), {})[0].cluster.name == "local"


@pytest.mark.parametrize("variable", _VARIABLES)
def test_a_variable_of_a_scheduler_without_a_plugin_is_a_sign(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "/opt/it")
    assert f"{variable}, of {_VARIABLES[variable]}, is /opt/it" in refused(host(), {})
    monkeypatch.setenv(variable, "")
    assert detect(host(), {})[0].cluster.name == "local"


@pytest.mark.parametrize("path", FILES)
def test_a_file_of_a_scheduler_without_a_plugin_is_a_sign(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signs, "_FILES", FILES)
    assert signs.signs({}, {}, tmp_path) == []
    (tmp_path / path.lstrip("/")).mkdir(parents=True)
    (found,) = signs.signs({}, {}, tmp_path)
    assert found == f"{path}, of {FILES[path]}, is there"


@pytest.mark.parametrize("name", ["slurm", "slurm.lua", "torque", "lsf.lua"])
def test_a_module_that_provides_a_scheduler_is_a_sign(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory of versions (Modules, Lmod), or a file."""
    (tmp_path / "slurm-tools").mkdir()
    monkeypatch.setenv("MODULEPATH", f"/nowhere::{tmp_path}")
    assert detect(host(), {})[0].cluster.name == "local"
    (tmp_path / name).mkdir()
    module = name.removesuffix(".lua")
    assert f"the module `{module}` can be loaded (in {tmp_path})" in refused(host(), {})


def test_a_configuration_without_programs_is_a_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm's, Torque's or PBS's module is not loaded."""
    config = tmp_path / "slurm.conf"
    config.write_text("SlurmctldHost=localhost\nNodeName=vm\n")
    monkeypatch.setattr(slurm_presence, "_PLACES", (str(config),))
    assert detect(host(), {})[0].cluster.name == "local", "of this machine alone"
    config.write_text("SlurmctldHost=mgr\n")
    assert f"{config} says SlurmctldHost=mgr; `sbatch` is not on the PATH" in refused(
        host(name="a"), {}
    )
    monkeypatch.setattr(slurm_presence, "_PLACES", ())
    (tmp_path / "server_name").write_text("mgr\n")
    monkeypatch.setattr(torque_presence, "_SERVER_NAMES", (str(tmp_path / "server_name"),))
    assert "names the server mgr; `qsub` is not on the PATH" in refused(host(name="b"), {})
    monkeypatch.setattr(torque_presence, "_SERVER_NAMES", ())
    monkeypatch.setenv("PBS_SERVER", "mgr")
    assert "PBS_SERVER names the server mgr" in refused(host(name="c"), {})


@pytest.mark.parametrize(
    ("name", "command"),
    [("comet-ln2", "sbatch"), ("tscc-stratus", "sbatch"), ("tscc-login1", "qsub")],
)
def test_a_login_node_of_a_site_without_the_schedulers_commands_is_refused(
    name: str, command: str
) -> None:
    assert f"but `{command}` is not on the PATH" in refused(host(name=name), {})


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let time pass: seconds from now."""
    real = time.time

    def move(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real() + seconds)

    return move


def test_an_answer_is_a_sign_for_a_week_after_it_is_fresh(later: Callable[[float], None]) -> None:
    assert detect(host("sbatch"), UP)[0].cluster.name == "generic"
    later(23 * 3600)
    assert detect(host("sbatch"), {})[1] == 0
    later(25 * 3600)
    assert "slurm answered on this host on 2" in refused(host("sbatch"), DOWN)
    assert "not on the PATH any more" in refused(host(), {}), "a module that is not loaded"
    assert detect(host("sbatch", name="laptop"), DOWN)[0].cluster.name == "local"
    assert detect(host("sbatch"), UP)[0].cluster.name == "generic"
    later(9 * 86400)
    assert detect(host("sbatch"), DOWN)[0].cluster.name == "local"


def test_a_host_without_a_cluster_is_looked_at_again_soon(later: Callable[[float], None]) -> None:
    assert detect(host("sbatch"), DOWN)[0].cluster.name == "local"
    later(50)
    assert detect(host("sbatch"), {})[1] == 0
    later(70)
    assert detect(host("sbatch"), UP)[0].cluster.name == "generic"
    later(-3600)
    assert detect(host("sbatch"), UP)[1] == 1, "a clock that was put back"


def test_other_programs_on_the_path_are_asked_at_once() -> None:
    assert detect(host("sbatch"), DOWN)[0].cluster.name == "local"
    other = Host(hostname="vm", fqdn="vm", commands={"sbatch": "/opt/slurm/bin/sbatch"})
    assert detect(other, UP)[0].cluster.name == "generic"


def test_without_programs_the_answer_is_cached_until_one_is_there(
    later: Callable[[float], None],
) -> None:
    assert detect(host(), {})[0].cluster.name == "local"
    points = [point for point in entry_points(group="rps") if point.name == "local"]
    for seconds in (0, 23 * 3600):
        later(seconds)
        plugins = Plugins(
            [*points, *(broken(point.name) for point in SCHEDULERS)], shell=RecordedShell({})
        )
        assert plugins.detect(host()).cluster.name == "local"
        assert plugins.broken == [], "no plugin of a scheduler is loaded"
    assert detect(host("sbatch"), UP)[0].cluster.name == "generic"


def test_a_plugin_that_is_new_is_asked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test a new plugin, whose programs no other plugin looked for."""
    assert detect(host("toysub"), {})[0].cluster.name == "local"
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "plugin_toy.py").write_text(
        "from rps_core.plugin import Presence, hookimpl\n"
        "@hookimpl\n"
        "def rps_scheduler_presence(host):\n"
        "    path = host.commands.get('toysub')\n"
        "    return path and Presence(answers=True, seen=f'`toysub` is there ({path})')\n"
    )
    toy = EntryPoint(name="scheduler.toy", value="plugin_toy", group="rps")
    plugins = Plugins([*entry_points(group="rps"), toy], shell=RecordedShell({}))
    found = plugins.detect(host("toysub"))
    assert (found.cluster.name, found.cluster.scheduler) == ("generic-toy", "toy")
    assert found.reasons[0] == "`toysub` is there (/nowhere/bin/toysub)"
    assert "generic-toy" in {cluster.name for cluster in plugins.clusters()}
    assert plugins.broken == []


def test_no_command_is_run_twice() -> None:
    """Test `qstat`, which the plugins of Torque and PBS both run."""
    for name, reply in (("a", WRAPPERS_VERSION[VERSION]), ("b", TIMEOUT)):
        answers = {PING: SLURM["no configuration"].answer, VERSION: reply}
        assert detect(host("sbatch", "qsub", name=name), answers)[1] == 2


@pytest.mark.parametrize("variable", ["SLURM_CONF", "SLURM_CONF_SERVER"])
def test_a_variable_that_a_module_sets_is_looked_at_at_once(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert detect(host("sbatch"), DOWN)[0].cluster.name == "local"
    monkeypatch.setenv(variable, "/nowhere/else")
    assert f"{variable} is /nowhere/else" in refused(host("sbatch"), DOWN)
    monkeypatch.delenv(variable)
    assert detect(host("sbatch"), DOWN)[0].cluster.name == "local"


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", '{"asked": "x"}', "\x00", '{"asked": 1, "commands": {"sbatch": '
             '"/nowhere/bin/sbatch"}, "found": {"slurm": 7}, "answered": {}}'],
)  # fmt: skip
def test_a_memory_that_is_not_ours_is_not_believed(text: str) -> None:
    paths.cache_dir().mkdir(parents=True)
    memory = paths.cache_dir() / "schedulers-vm.json"
    memory.write_text(text)
    memory.chmod(0o600)
    assert detect(host("sbatch"), DOWN)[0].cluster.name == "local"


def test_a_memory_that_others_can_write_is_not_believed() -> None:
    assert [detect(host("sbatch"), UP)[1] for _ in range(2)] == [1, 0]
    (memory,) = paths.cache_dir().glob("schedulers-*.json")
    memory.chmod(0o622)
    assert detect(host("sbatch"), UP)[1] == 1


def test_what_cannot_be_remembered_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    for _ in range(2):
        assert detect(host("sbatch"), UP)[1] == 1


def test_a_cluster_that_is_named_is_taken_without_a_question() -> None:
    plugins = Plugins(list(entry_points(group="rps")), shell=RecordedShell({}))
    assert plugins.detect(host("sbatch", "qsub"), "local").cluster.name == "local"
    assert plugins.broken == []


def test_sessions_are_looked_after_where_none_can_be_started() -> None:
    gone: Answers = {PING: SLURM["the controller is gone"].answer}
    plugins = Plugins(list(entry_points(group="rps")), shell=RecordedShell(gone))
    assert plugins.detect(host("sbatch"), inside=True).cluster.name == "generic"
