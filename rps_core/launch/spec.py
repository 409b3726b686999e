"""The input for rendering a session's batch script, and `rps start --dry-run`.

It is a module of its own: a dry run needs nothing of what submits a job.
"""

from __future__ import annotations

from pathlib import Path

from rps_core.cluster import ClusterContext
from rps_core.launch.plan import Plan
from rps_core.models import SessionSpec
from rps_core.state.store import Store

PLACEHOLDER = "three-random-words"


def session_spec(
    here: ClusterContext, plan: Plan, name: str, tag: str, session_dir: Path
) -> SessionSpec:
    """Return the input for rendering the batch script."""
    return SessionSpec(
        name=name,
        tag=tag,
        app=plan.app,
        template=plan.template,
        session_dir=session_dir,
        directory=plan.directory,
        allocation=plan.allocation,
        gpu_directive=here.loaded.settings.scheduler.gpu_directive,
        gpu_type_resource=here.loaded.settings.scheduler.gpu_type_resource,
        warn_before=here.loaded.settings.scheduler.warn_before,
    )


def dry_run(here: ClusterContext, plan: Plan, store: Store) -> str:
    """Return the batch script as it would be submitted, with a placeholder name."""
    directory = store.files(PLACEHOLDER).directory
    spec = session_spec(here, plan, PLACEHOLDER, f"rps:{PLACEHOLDER}", directory)
    return here.site.render_batch(spec)
