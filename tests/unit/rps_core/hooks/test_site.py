"""Each hook of a cluster, failing in each way: PluginError, or a note."""

import inspect
from typing import Any

import pytest

from rps_core import hookspecs
from rps_core.errors import PluginError, SchedulerError
from rps_core.hooks.manager import Plugins
from rps_core.hooks.site import Site
from tests.stands.plugins import Distributions, distributions
from tests.unit.rps_core.hooks.test_plugins_page import Asked, asked

__all__ = ["distributions"]

WAYS = {
    "wrong type": "return object()",
    "exception": "raise ValueError('x')",
    "exit": "raise SystemExit(0)",
    "interrupt": "raise KeyboardInterrupt",
    "base exception": "raise BaseException",
    "endless recursion": "return sys._getframe().f_back and again()",
    "an error without texts": "raise SchedulerError(42)",
}
HEAD = "import sys\nfrom rps_core.plugin import *\ndef again(): return again()\n"


def methods() -> dict[str, str]:
    """Return the methods of a site that ask one hook, by that hook's name."""
    found = {}
    for name, method in inspect.getmembers(Site, inspect.isfunction):
        if not name.startswith("_"):
            asking = Asked()
            site = Site(Any, asking, ("x", "y"), ())  # type: ignore[arg-type]
            call(site, method)
            (hook,) = asking.needed | asking.optional
            found[hook] = name
    return found


def call(site: Site, method: Any) -> Any:
    """Call a hook with a value for each argument; failing hooks ignore them."""
    given: dict[str, Any] = {"submissions": (), "jobs": (), "job_ids": (), "environment": {}}
    names = list(inspect.signature(method).parameters)[1:]
    return method(site, *[given.get(name) for name in names])


@pytest.mark.parametrize("way", WAYS)
def test_every_hook_fails_alone(way: str, distributions: Distributions) -> None:
    """Test that the error names plugin, distribution and line, without a traceback."""
    hooks = methods()
    assert len(hooks) > 15
    body = "".join(f"@hookimpl\ndef {hook}():\n    {WAYS[way]}\n" for hook in hooks)
    clusters = (
        "@hookimpl\ndef rps_clusters(): return [Cluster(name='toy', site='toy', scheduler='toy')]\n"
    )
    file = distributions.install("toy", HEAD + body + clusters)
    distributions.install("none", HEAD, points="scheduler.toy = {module}")
    plugins = Plugins.load()
    (cluster,) = [one for one in plugins.clusters() if one.name == "toy"]
    site = plugins.site(cluster)
    needed = asked().needed
    for hook, name in hooks.items():
        before = len(plugins.broken)
        if hook in needed:
            with pytest.raises(PluginError) as caught:
                call(site, getattr(Site, name))
            said = caught.value.message
        else:
            assert not call(site, getattr(Site, name))
            assert len(plugins.broken) == before + 1
            said = str(plugins.broken[-1])
        assert f"the plugin `toy` (rps-toy 2.0): {hook}: " in said
        assert f"({file}:" in said
    assert {one.hook for one in plugins.broken} == hooks.keys() - needed


def test_what_a_hook_may_raise_is_passed_on(distributions: Distributions) -> None:
    """The scheduler refused: that is no mistake of the plugin."""
    clusters = (
        "@hookimpl\ndef rps_clusters(): return [Cluster(name='toy', site='toy', scheduler='toy')]\n"
    )
    body = (
        "@hookimpl\ndef rps_{}(): raise SchedulerError('no', 'wait', transient=True, cause='x')\n"
    )
    names = ("submit", "poll", "partitions")
    distributions.install("toy", HEAD + clusters + "".join(body.format(name) for name in names))
    distributions.install("none", HEAD, points="scheduler.toy = {module}")
    plugins = Plugins.load()
    site = plugins.site(next(one for one in plugins.clusters() if one.name == "toy"))
    for name in names:
        with pytest.raises(SchedulerError) as caught:
            call(site, getattr(Site, name))
        assert (caught.value.hint, caught.value.transient, caught.value.cause) == (
            "wait",
            True,
            "x",
        )
    assert plugins.broken == []


def test_a_scheduler_without_a_hook_that_is_needed_is_named(distributions: Distributions) -> None:
    clusters = (
        "@hookimpl\ndef rps_clusters(): return [Cluster(name='toy', site='toy', scheduler='toy')]\n"
    )
    distributions.install("toy", HEAD + clusters)
    distributions.install("none", HEAD, points="scheduler.toy = {module}")
    plugins = Plugins.load()
    site = plugins.site(next(one for one in plugins.clusters() if one.name == "toy"))
    with pytest.raises(PluginError, match=r"Neither toy nor scheduler\.toy answers rps_poll"):
        site.poll((), lambda *_, **__: None)  # type: ignore[arg-type]


def test_every_hook_has_its_method() -> None:
    of_plugins = {
        "rps_cluster_name",
        "rps_clusters",
        "rps_detect_cluster",
        "rps_scheduler_presence",
    }
    hooks = {name for name, spec in vars(hookspecs).items() if hasattr(spec, "rps_spec")}
    assert methods().keys() == hooks - of_plugins
