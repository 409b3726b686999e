"""docs/plugins.md says what the code does."""

import inspect
import re
from pathlib import Path
from typing import Any

from rps_core import hookspecs
from rps_core.hooks import registration
from rps_core.hooks.site import Site
from rps_core.models import Cluster

PAGE = (Path(__file__).parents[4] / "docs" / "plugins.md").read_text("utf-8")
HOOKS = {name for name, spec in vars(hookspecs).items() if hasattr(spec, "rps_spec")}


class Asked:
    """A stand-in for the plugins that records the arguments of each hook."""

    def __init__(self) -> None:
        self.needed: set[str] = set()
        self.optional: set[str] = set()

    def need(self, hook: str, *_: object, **__: object) -> Any:
        self.needed.add(hook)
        return ()

    def ask(self, hook: str, *_: object, **__: object) -> Any:
        self.optional.add(hook)

    ask_strictly = ask


def asked() -> Asked:
    """Every method of a site, called once."""
    found = Asked()
    site = Site(Cluster(name="x", site="x", scheduler="x"), found, ("x", "scheduler.x"), ())  # type: ignore[arg-type]
    for name, method in inspect.getmembers(site, inspect.ismethod):
        if not name.startswith("_"):
            method(*[None] * len(inspect.signature(method).parameters))
    return found


def test_every_hook_is_named_and_no_other() -> None:
    assert (
        set(re.findall(r"\brps_[a-z]+(?:_[a-z]+)*\b", PAGE)) - {"rps_core", "rps_expanse"} == HOOKS
    )


def test_the_hooks_that_a_command_cannot_do_without_are_those_of_the_page() -> None:
    (sentence,) = re.findall(
        r"The hooks that a command cannot do without are (.*?)\.\n", PAGE, re.S
    )
    found = asked()
    assert set(re.findall(r"`(rps_\w+)`", sentence)) == found.needed
    assert found.needed | found.optional >= HOOKS - {
        "rps_cluster_name", "rps_clusters", "rps_detect_cluster", "rps_scheduler_presence",
    }  # fmt: skip


def test_the_limits_are_those_of_the_page() -> None:
    for seconds, text in (
        (registration.LOAD_TIME, "takes more than {:.0f} s | the plugin is not used"),
        (registration.ANSWER_TIME, "takes more than {:.0f} s, or returns"),
        (registration.NEEDED_TIME, "the limit is {:.0f} s"),
    ):
        assert text.format(seconds) in PAGE


def test_the_version_is_that_of_the_page() -> None:
    assert f"version, now {hookspecs.INTERFACE}." in PAGE
    assert f"RPS_INTERFACE = {hookspecs.INTERFACE}" in PAGE
