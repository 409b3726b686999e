"""A plugin's mistake affects that plugin alone, and is reported with its line."""

import gc
import json
import re
import sys
import typing
from dataclasses import dataclass

import pytest

from rps_core import cluster, hookspecs
from rps_core.cli import main
from rps_core.display import config as display
from rps_core.errors import PluginError
from rps_core.hooks import registration
from rps_core.models import Host
from tests.stands.plugins import Distributions, distributions

__all__ = ["distributions"]

HEAD = """\
from rps_core.plugin import *
from datetime import datetime
HERE = Cluster(name="toy", site="toy", scheduler="local")
"""
CLAIMS = (
    HEAD
    + """\
@hookimpl
def rps_clusters():
    return [HERE]
@hookimpl
def rps_detect_cluster(host):
    return Claim(cluster=HERE, reasons=("it is a test",))
"""
)
SETTINGS = ("--set", "proxy.domain=example.org", "--account", "abc123")
DRY_RUN = ("start", "--dry-run", *SETTINGS)

# Modules with mistakes: the text, the mistake's line, the message.
UNUSABLE = {
    "syntax": ("x = 1\ndef (", 2, "SyntaxError: invalid syntax"),
    "module that is not there": ("x = 1\nimport nowhere", 2, "No module named 'nowhere'"),
    "name that is not there": ("from rps_core.plugin import Nothing", 1, "ImportError: cannot import"),
    "exception": ("raise ValueError('at import')", 1, "ValueError: at import"),
    "sys.exit": ("import sys\nsys.exit(3)", 2, "SystemExit: 3"),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", 1, "KeyboardInterrupt"),
    "GeneratorExit": ("raise GeneratorExit", 1, "GeneratorExit"),
    "recursion": ("def f():\n    f()\nf()", 2, "RecursionError: maximum recursion"),
    "text that raises": (
        "class Odd(Exception):\n    def __str__(self):\n        raise ValueError\nraise Odd",
        4,
        "Odd, whose text raises an exception",
    ),
    "hang": ("import time\ntime.sleep(3600)", 2, "its import did not end within"),
    "hang that catches everything": (
        "import time\nwhile True:\n    try:\n        time.sleep(0.01)\n    except BaseException: pass",
        4,
        "its import did not end within",
    ),
    "misspelt hook": (
        f"{HEAD}@hookimpl\ndef rps_detect_clusters(host): ...",
        4,
        "rps_detect_clusters is no hook of rps. Did you mean `rps_detect_cluster`?",
    ),
    "misspelt hook without the marker": (
        "def rps_detect_clusters(host): ...",
        1,
        "rps_detect_clusters is no hook of rps. Did you mean `rps_detect_cluster`?",
    ),
    "no marker": ("def rps_submit(spec): ...", 1, "rps_submit is not marked with @hookimpl"),
    "argument that does not exist": (
        f"{HEAD}@hookimpl\ndef rps_detect_cluster(hots): ...",
        4,
        "takes `hots`, which rps does not pass. Did you mean `host`? It passes: host, schedulers, shell.",
    ),
    "argument by position": (
        f"{HEAD}@hookimpl\ndef rps_detect_cluster(host, /): ...",
        4,
        "takes arguments by position",
    ),
    "number for a hook": ("rps_submit = 42", None, "rps_submit is of type int, and a hook is a function"),
    "class": (f"{HEAD}@hookimpl\nclass rps_submit: ...", None, "rps_submit is a class, and a hook is"),
    "async": (f"{HEAD}@hookimpl\nasync def rps_clusters(): ...", 4, "is an async function"),
    "generator": (f"{HEAD}@hookimpl\ndef rps_clusters():\n    yield HERE", 4, "is a generator"),
    "async generator": (
        f"{HEAD}@hookimpl\nasync def rps_clusters():\n    yield HERE", 4, "is an async generator",
    ),
    "wrapper": (f"{HEAD}@hookimpl(wrapper=True)\ndef rps_poll():\n    return (yield)", 4, "a wrapper"),
    "old wrapper": (f"{HEAD}@hookimpl(hookwrapper=True)\ndef rps_poll():\n    yield", 4, "a wrapper"),
    "newer interface": (
        "RPS_INTERFACE = (9, 1)",
        None,
        "rps-toy 2.0 needs plugin interface 9.1; this rps has 1.0. Upgrade rps.",
    ),
    "newer interface that imports its names": (
        "from rps_core.plugin import NewThing\nRPS_INTERFACE = (1, 7)",
        2,
        "rps-toy 2.0 needs plugin interface 1.7; this rps has 1.0. Upgrade rps.",
    ),
    "older interface": (
        "RPS_INTERFACE = (0, 3)",
        None,
        "rps-toy 2.0 was written for plugin interface 0.3; this rps has 1.0. Upgrade the plugin.",
    ),
    "no interface": ("RPS_INTERFACE = '2'", None, "RPS_INTERFACE is '2', and must be two numbers: (1, 0)"),
}  # fmt: skip
COMMANDS = (("config",), ("cluster",), ("start", "--dry-run", "--cluster", "generic", *SETTINGS))


@dataclass
class Ran:
    """A command that ended."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def on_a_laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run on a host of no cluster, with short time limits for plugins."""
    for module in (cluster, display):
        monkeypatch.setattr(
            module, "this_host", lambda: Host(hostname="laptop", fqdn="laptop", commands={})
        )


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> typing.Callable[[], None]:
    """Call it to leave plugins 2 s, where one hangs."""

    def hurry() -> None:
        for limit in ("LOAD_TIME", "ANSWER_TIME", "NEEDED_TIME"):
            monkeypatch.setattr(registration, limit, 2.0)

    return hurry


@pytest.fixture
def rps(
    on_a_laptop: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> typing.Callable[..., Ran]:
    """Run a command in this process."""

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["rps", *arguments])
        cluster._warn.cache_clear()  # a command is a process of its own
        code, threshold = 0, gc.get_threshold()
        try:
            main.run(main.rps)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        finally:
            gc.unfreeze()
            gc.set_threshold(*threshold)
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.mark.parametrize("way", UNUSABLE)
def test_a_broken_plugin_is_left_out_and_every_command_reports_it(
    way: str,
    distributions: Distributions,
    rps: typing.Callable[..., Ran],
    in_a_hurry: typing.Callable[[], None],
) -> None:
    body, line, message = UNUSABLE[way]
    file = distributions.install("toy", body)
    if way.startswith("hang"):
        in_a_hurry()
    for command in COMMANDS:
        if way.startswith("hang") and command != COMMANDS[0]:
            continue  # each takes its time
        sys.modules.pop(file.stem, None)
        ran = rps(*command)
        assert ran.code == 0, (command, ran)
        said = ran.stdout if command == ("cluster",) else ran.stderr
        lines = [one for one in said.splitlines() if "toy" in one]
        assert "Traceback" not in ran.stdout + ran.stderr
        assert message in lines[0]
        assert "rps-toy 2.0" in lines[0]
        if line is not None:
            assert f"({file}:{line})" in lines[0]
        # Once; where the cluster was not named, a second line says which one it may be.
        assert len(lines) == (1 if "--cluster" in command else 2)
        if command == ("config",):
            assert "may belong to the cluster `toy`, whose plugin is broken" in lines[1]
            assert "toy" not in ran.stdout


ANSWERED = {
    "rps_clusters": "42",
    "rps_detect_cluster": "42",
    "rps_site_config": "'site.yaml'",
    "rps_scheduler_config": "__import__('pathlib').Path('/nowhere/at/all.yaml')",
    "rps_default_allocation": "['abc', 'def']",
}


@pytest.mark.parametrize(
    ("hook", "way"),
    [
        *(
            (hook, way)
            for hook in ANSWERED
            for way in ("wrong type", "exception", "exit", "interrupt")
        ),
        ("rps_detect_cluster", "hang"),
        ("rps_site_config", "hang"),
    ],
)
def test_a_failed_optional_hook_is_reported_and_the_command_continues(
    hook: str,
    way: str,
    distributions: Distributions,
    rps: typing.Callable[..., Ran],
    in_a_hurry: typing.Callable[[], None],
) -> None:
    if way == "hang":
        in_a_hurry()
    body, message = {
        "wrong type": (f"return {ANSWERED[hook]}", "its answer is "),
        "exception": ("return 1 // 0", "ZeroDivisionError"),
        "exit": ("raise SystemExit", "SystemExit"),
        "interrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        "hang": ("import time; time.sleep(3600)", "no answer within 2 s"),
    }[way]
    text = f"{CLAIMS}@hookimpl\ndef {hook}():\n    {body}\n"
    line = text.count("\n") - (1 if way == "wrong type" else 0)
    if way == "wrong type":
        line -= 1  # the decorator's: the hook's definition
    file = distributions.install("toy", text)
    named = (
        ("--cluster", "local") if hook == "rps_clusters" else ()
    )  # asked only where one is named
    ran = rps("start", "--dry-run", "--set", "proxy.domain=example.org", *named)
    lines = [one for one in ran.stderr.splitlines() if "rps: warning: the plugin `toy`" in one]
    assert len(lines) == 1, ran
    assert f"{hook}: {message}" in lines[0]
    assert lines[0].endswith(f"({file}:{line})")
    if hook == "rps_detect_cluster":
        assert "`toy`, whose plugin is broken; going on with `local`" in ran.stderr
    else:
        assert ran.code == 0, ran
        assert ran.stdout.startswith("#!")
    assert not list(distributions.directory.parent.glob("home/.cache/rps/accounts.json"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 42", "its answer is 42 (int), not str"),
        ("return 'echo hello'", "must be a script: text that begins with `#!`"),
        ("return '#!/bin/sh\\0'", "must be a script"),
        ("return b'#!/bin/sh'", "(bytes), not str"),
        ("return 1 // 0", "ZeroDivisionError"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("return (yield_ for yield_ in '')", "(generator), not str"),
        ("import time; time.sleep(3600)", "no answer within 2 s"),
    ],
)
def test_a_hook_that_is_needed_ends_the_command_with_one_error(
    body: str,
    message: str,
    distributions: Distributions,
    rps: typing.Callable[..., Ran],
    in_a_hurry: typing.Callable[[], None],
) -> None:
    if "sleep" in body:
        in_a_hurry()
    text = f"{CLAIMS}@hookimpl\ndef rps_render_batch(spec):\n    {body}\n"
    file = distributions.install("toy", text)
    ran = rps(*DRY_RUN)
    assert ran.code == PluginError.exit_code == 10
    assert ran.stdout == ""
    error = ran.stderr.splitlines()
    assert error[0].startswith("rps: Cannot go on without the plugin `toy` (rps-toy 2.0)")
    assert f"rps_render_batch: {message}" in error[0] or message in error[0]
    assert re.search(rf"\({re.escape(str(file))}:(10|12)\)$", error[0])
    assert len(error) == 2


def test_json_on_stdout_stays_json(
    distributions: Distributions, rps: typing.Callable[..., Ran]
) -> None:
    """A plugin that prints, by Python or by a program, prints to stderr."""
    body = f"{CLAIMS}print('from python')\nimport os\nos.write(1, b'from a program\\n')\n"
    body += "@hookimpl\ndef rps_default_allocation():\n    print('from a hook')\n    return 1\n"
    file = distributions.install("toy", body)
    for command in (("cluster", "--json"), ("config", "--json")):
        sys.modules.pop(file.stem, None)
        ran = rps(*command)
        json.loads(ran.stdout)
        assert "from python\n" in ran.stderr
        assert "from a program\n" in ran.stderr
    ran = rps("start", "--dry-run", "--set", "proxy.domain=example.org")
    assert ran.stdout.startswith("#!")
    assert "from a hook" in ran.stderr


def test_cluster_as_json_has_every_mistake(
    distributions: Distributions, rps: typing.Callable[..., Ran]
) -> None:
    file = distributions.install("toy", "\nimport nowhere")
    found = json.loads(rps("cluster", "--json").stdout)
    assert found["broken"] == [
        {
            "plugin": "toy",
            "origin": "rps-toy 2.0",
            "reason": "ModuleNotFoundError: No module named 'nowhere'",
            "where": f"{file}:2",
            "hook": "",
        }
    ]
    assert "whose plugin is broken" in found["doubt"]


def test_a_missing_module_is_reported_with_the_file_that_names_it(
    distributions: Distributions, rps: typing.Callable[..., Ran]
) -> None:
    file = distributions.install("toy", "")
    file.unlink()
    names = distributions.metadata("toy") / "entry_points.txt"
    assert f"({names})" in rps("config").stderr


def test_a_name_that_is_taken_and_a_module_registered_twice(
    distributions: Distributions, rps: typing.Callable[..., Ran]
) -> None:
    distributions.install("again", CLAIMS, points="comet = {module}")
    distributions.install("toy", HEAD, points="first = {module}\nsecond = {module}\n")
    said = rps("cluster").stdout
    assert re.search(r"broken: +comet \(.*\): the name `comet` is taken by .*\d", said)
    assert "second (rps-toy 2.0): its module is the plugin `first` already" in said


def test_metadata_that_is_not_utf_8_costs_its_distribution(
    distributions: Distributions, rps: typing.Callable[..., Ran]
) -> None:
    distributions.install("toy", "")
    names = distributions.metadata("toy") / "entry_points.txt"
    names.write_bytes(b"[rps]\ntoy = rps_\xff\n")
    assert "the plugin `toy` (rps-toy 2.0)" in rps("config").stderr


def test_another_sites_cluster_is_not_a_plugins_to_claim(
    distributions: Distributions, rps: typing.Callable[..., Ran]
) -> None:
    distributions.install("toy", CLAIMS.replace('site="toy"', 'site="comet"'))
    ran = rps("config")
    assert ran.code == 0
    assert "its cluster `toy` has the site `comet`, and must have `toy`" in ran.stderr


def test_two_plugins_that_claim_the_host_are_named(
    distributions: Distributions, rps: typing.Callable[..., Ran]
) -> None:
    for name in ("toy", "other"):
        distributions.install(name, CLAIMS.replace('"toy"', f'"{name}"'))
    ran = rps("config")
    assert ran.code == 3
    assert (
        "More than one cluster claims this host: other: it is a test; toy: it is a test"
        in ran.stderr
    )


def test_what_a_plugin_is_given_is_not_its_own_to_change(
    distributions: Distributions, rps: typing.Callable[..., Ran]
) -> None:
    change = "@hookimpl\ndef rps_detect_cluster(host, schedulers):\n    {}\n"
    for line in (
        "host.commands['sbatch'] = '/x'",
        "schedulers['slurm'] = 1",
        "host.hostname = 'x'",
    ):
        distributions.install(f"toy{abs(hash(line))}", HEAD + change.format(line))
    ran = rps("config")
    assert ran.code == 0
    assert ran.stderr.count("'mappingproxy' object does not support item assignment") == 2
    assert "FrozenInstanceError: cannot assign to field 'hostname'" in ran.stderr


def test_the_current_jobs_environment_is_a_copy(distributions: Distributions) -> None:
    from rps_core.hooks.manager import Plugins

    body = "@hookimpl\ndef rps_current_job(environment):\n    environment['PATH'] = '/x'\n"
    distributions.install("toy", CLAIMS + body)
    plugins = Plugins.load()
    site = plugins.site(next(one for one in plugins.clusters() if one.name == "toy"))
    assert site.current_job({"PATH": "/bin"}) is None
    import os

    before = dict(os.environ)
    assert site.current_job(os.environ) is None
    assert dict(os.environ) == before
    assert [one.hook for one in plugins.broken] == ["rps_current_job"]


def test_a_command_that_makes_no_sense_is_the_plugins_mistake(
    distributions: Distributions, rps: typing.Callable[..., Ran]
) -> None:
    lines = ("shell()", "shell(['squeue'])", "shell('a\\0b')", "shell('true', timeout=-1)",
             "shell('true', stdin=b'x')", "shell('')")  # fmt: skip
    for number, line in enumerate(lines):
        body = f"{HEAD}@hookimpl\ndef rps_detect_cluster(shell):\n    {line}\n"
        distributions.install(f"toy{number}", body)
    ran = rps("config")
    assert ran.code == 0
    for number in range(len(lines)):
        assert re.search(rf"`toy{number}` \(.*(Type|Value)Error: shell", ran.stderr), (
            number,
            ran.stderr,
        )


def test_a_plugin_that_declares_a_newer_hook_as_optional_is_sound(
    distributions: Distributions, rps: typing.Callable[..., Ran]
) -> None:
    body = (
        "@hookimpl(optionalhook=True)\ndef rps_of_tomorrow(anything): ...\ndef rps_helper(): ...\n"
    )
    distributions.install("toy", CLAIMS + body)
    ran = rps("start", "--dry-run", *SETTINGS)
    assert (ran.code, "plugin" in ran.stderr) == (0, False)
    assert ran.stdout.startswith("#!")


def test_a_broken_scheduler_is_reported_by_each_command(
    distributions: Distributions, rps: typing.Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test that a missing answer is not cached as the schedulers' answers are."""
    body = "@hookimpl\ndef rps_scheduler_presence(): return True\n"
    distributions.install("toy", HEAD + body, points="scheduler.toy = {module}")
    sound = body.replace("True", "Presence(answers=False, seen='no answer')")
    distributions.install("other", HEAD + sound, points="scheduler.other = {module}")
    program = distributions.directory / "qsub"  # of no scheduler
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("RPS_BLOCK", "scheduler.torque,scheduler.pbs,scheduler.slurm")
    host = Host(hostname="laptop", fqdn="laptop", commands={"qsub": str(program)})
    monkeypatch.setattr(cluster, "this_host", lambda: host)
    for _ in range(2):
        ran = rps("config")
        assert "rps_scheduler_presence: its answer is True (bool), not Presence" in ran.stderr
        assert "may have the scheduler `toy`, whose plugin is broken" in ran.stderr


def test_any_schedulers_plugin_knows_its_jobs_and_a_broken_one_costs_no_other(
    distributions: Distributions,
) -> None:
    from rps_core.hooks.manager import Plugins

    body = "@hookimpl\ndef rps_current_job(environment): return environment.get('TOY_JOBID')\n"
    distributions.install("toy", HEAD + body, points="scheduler.toy = {module}")
    broken = "@hookimpl\ndef rps_current_job(): raise UsageError('no')\n"
    distributions.install("broken", HEAD + broken, points="scheduler.broken = {module}")
    plugins = Plugins.load()
    for variable in ("TOY_JOBID", "SLURM_JOB_ID", "PBS_JOBID"):
        assert plugins.in_a_job({variable: "7"})
    assert not plugins.in_a_job({"LSB_JOBID": "7"})
    assert [one.plugin for one in plugins.broken] == ["scheduler.broken"]


def test_every_plugin_of_ours_declares_the_interface() -> None:
    from rps_core.hooks.manager import Plugins

    plugins = Plugins.load()
    plugins.load_schedulers()
    for name in plugins.names():
        assert plugins.declares_interface(name), name
    assert len(hookspecs.INTERFACE) == 2
