"""`rps start` in one sequence: issue, render, save, submit, link.

Detection, configuration and planning come before (`cluster`, `plan`), following after (`follow`).
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from rps_core.cluster import ClusterContext
from rps_core.environment import own as own_python
from rps_core.environment.environment import Kind
from rps_core.errors import (
    InterruptedByUserError,
    JobError,
    PluginError,
    RpsError,
    SchedulerError,
    ServiceError,
)
from rps_core.launch import applications
from rps_core.launch import default_account as remembered
from rps_core.launch import rerun as again
from rps_core.launch.plan import Plan
from rps_core.launch.spec import session_spec
from rps_core.log import get_logger
from rps_core.node import archive
from rps_core.node.agent.words import short
from rps_core.protocol import Cause, EndCause
from rps_core.proxy_client.client import Client, issue_name
from rps_core.proxy_client.models import Issued
from rps_core.sessions import identity
from rps_core.sessions.session import come_back
from rps_core.state.record import Secrets, SessionRecord
from rps_core.state.session_dir import SessionFiles
from rps_core.state.store import Store, prune
from rps_core.state.visit import note_made
from rps_core.system import cache, paths
from rps_core.system.signals import DeferredSignals
from rps_core.system.user import login_name

_FOR_THE_NODE = (
    Path(__file__).parents[1] / "batch" / "prepare.sh",
    Path(__file__).parents[1] / "batch" / "run-agent.sh",
)

log = get_logger(__name__)


def start(
    here: ClusterContext,
    plan: Plan,
    store: Store,
    held: DeferredSignals,
    records: Sequence[SessionRecord],
    label: str | None,
) -> SessionRecord:
    """Start a session and return its record, once the job is submitted and linked.

    A failure or interrupt before that leaves no name at the service; a failed submission
    leaves a record with the cause. The record stays open where a broken plugin may have submitted
    a job that could not be found or cancelled.

    Args:
        here: the cluster.
        plan: what to start.
        store: the user's sessions.
        held: defers Ctrl-C.
        records: those of the store, of which the oldest ended ones are removed.
        label: the user's word for the session.

    Raises:
        ServiceError: the service does not answer or issues no name.
        SchedulerError: the scheduler refused the job.
        PluginError: the plugin of the site or the scheduler failed.
        KeyboardInterrupt: Ctrl-C before the job was submitted.
    """
    store.probe()
    prune(store, here.loaded.settings.keep_ended, records)
    cluster = here.site.cluster
    client, issued = issue_name(here, user=login_name())
    log.info("name issued", name=issued.name)
    record = _new_record(here, plan, issued, client, label)
    session: SessionFiles | None = None
    try:
        held.check()
        record = replace(record, cluster_identity=identity.of_a_new_session(here))
        session = store.create(record, Secrets(issued.claim, os.urandom(16).hex()))
        if record.link == "once":
            note_made(session)
        _write_for_the_node(session, here, plan, issued, client)
        spec = session_spec(here, plan, record.name, record.tag, session.directory)
        script = session.write(session.script.name, here.site.render_batch(spec), 0o700)
        if not plan.inside:
            record = store.save(replace(record, submitting=True))
        held.check()
        held.firm = True
        if plan.inside:
            job_id = plan.inside.job_id
            here.site.start_step(spec, job_id, script, here.shell)
        else:
            answer = here.site.submit(spec, script, here.shell)
            job_id = answer.job_id
            record = replace(record, scheduler_words=list(answer.words))
        record = _submitted(here, store, record, job_id)
    except SchedulerError as error:
        remembered.forget(cluster)
        _give_up(client, store, session, record, issued, error)
        raise
    except PluginError as error:
        if not record.submitting:
            _give_up(client, store, session, record, issued, error)
            raise
        _recover(here, client, store, record, issued, error)
    except BaseException as error:
        _give_up(client, store, session, record, issued, error)
        raise
    finally:
        held.firm = False
    log.info("job submitted", name=record.name, job_id=job_id)
    try:
        _link(here, client, store, record, issued)
        here.site.session_started(record)
    except KeyboardInterrupt:
        raise InterruptedByUserError(come_back(record)) from None
    return record


def _submitted(
    here: ClusterContext, store: Store, record: SessionRecord, job_id: str
) -> SessionRecord:
    """Record the job's id.

    Raises:
        JobError: the session was stopped during the submission; the job is cancelled.
    """
    submitted = replace(record, job_id=job_id, submitting=False)
    try:
        submitted = store.save(submitted)
    except OSError as error:  # disk full: the job exists, and is found by its tag
        log.warning("job id not recorded", name=record.name, job_id=job_id, reason=error.strerror)
    if submitted.ended is not None:
        raise _stopped_meanwhile(here, store, submitted)
    return submitted


def _link(
    here: ClusterContext,
    client: Client,
    store: Store,
    record: SessionRecord,
    issued: Issued,
) -> None:
    """Report the job's id to the service; without an answer the job continues.

    Raises:
        JobError: the name was revoked: another command has stopped the session.
    """
    try:
        client.link(issued.name, issued.claim, str(record.job_id))
    except ServiceError as error:
        if error.code == "gone" and not _has_ended(store, record):
            raise _stopped_meanwhile(here, store, record) from None
        log.warning("job not linked", name=record.name, reason=error.message)


def _has_ended(store: Store, record: SessionRecord) -> bool:
    """Return whether the agent has ended, and revoked the name, before the link."""
    return any(event.get("event") == "ended" for event in store.files(record.name).events())


def _stopped_meanwhile(here: ClusterContext, store: Store, record: SessionRecord) -> JobError:
    from rps_core.sessions.end import end_job
    from rps_core.sessions.job import job_of

    job = job_of(record, here, store)
    if job is not None:
        end_job(record, job, here)
    reason = "stopped during its start"
    store.end(record, now=time.time(), outcome="ended", reason=reason, cause=Cause.STOPPED)
    return JobError(
        f"{record.name} was {reason}: `rps stop` was called",
        "Its job is cancelled. Start another session.",
    )


def _new_record(
    here: ClusterContext, plan: Plan, issued: Issued, client: Client, label: str | None
) -> SessionRecord:
    cluster = here.site.cluster
    return SessionRecord(
        name=issued.name,
        tag=f"rps:{issued.name}:{os.urandom(4).hex()}",
        cluster=cluster.name,
        site=cluster.site,
        scheduler=cluster.scheduler,
        url=issued.url,
        endpoint=client.endpoint,
        own_service=here.loaded.settings.proxy.personal,
        tunnel=client.tunnel,
        app=plan.app,
        opens=plan.opens,
        directory=str(plan.directory),
        walltime=int(plan.allocation.walltime.total_seconds()),
        created=time.time(),
        job_id=plan.inside.job_id if plan.inside else None,
        inside=plan.inside is not None,
        settings=again.settings_to_keep(here, plan),
        label=label,
        environment=plan.environment.environment.as_json(),
        link=here.loaded.settings.notebook.link,
        shares=here.loaded.settings.limits.share is not None,
    )


def _write_for_the_node(
    session: SessionFiles, here: ClusterContext, plan: Plan, issued: Issued, client: Client
) -> None:
    """Copy all that the agent needs: the node may not see the installation or the CA."""
    write = functools.partial(session.write, lasting=False)
    write(archive.NAME, _archive())
    for source in _FOR_THE_NODE:
        write(source.name, source.read_text("utf-8"))
    endpoint = client.endpoint  # after the call for a name: a personal service may have moved
    if endpoint.ca_file:
        write("service-ca.pem", Path(endpoint.ca_file).read_text("utf-8"))
    write("interpreters", f"{sys.executable}\n")
    notebook = here.loaded.settings.notebook
    chosen = plan.environment
    write("environment", f"environment: {chosen.environment.described()}\n")  # the log's first line
    write("modules", "".join(f"{module}\n" for module in chosen.modules))
    write("conda-env", f"{chosen.conda_env}\n" if chosen.conda_env else "")
    write("conda-variables", chosen.conda_variables())
    if plan.prologue:
        write("prologue.sh", plan.prologue)
    app_jupyter = applications.other_jupyter(chosen.jupyter)
    # The Python of notebooks that rps's own Jupyter serves.
    programs = (chosen.jupyter, chosen.fallback, app_jupyter)
    own = own_python.prepare(here.site.cluster.name, session.directory, programs)
    launch = {
        "version": 1,
        "name": issued.name,
        "host": issued.host,
        "url": issued.url,
        "service": {
            "host": endpoint.host,
            "port": endpoint.port,
            "connect": endpoint.connect,
            "ca_file": "service-ca.pem" if endpoint.ca_file else None,
            "protocol": endpoint.protocol,
            "node_address": here.loaded.settings.proxy.node_address,
            "file_calls": client.tunnel is not None,
        },
        "directory": str(plan.directory),
        "jupyter": chosen.jupyter,
        "fallback": chosen.fallback,
        "kernel": chosen.kernel and chosen.kernel.as_json(),
        "environment": chosen.for_the_agent(),
        "own": own and own.as_json(),
        **_made(here, plan),
        "container": list(plan.container) if plan.container else None,
        "apps": applications.for_the_agent(here.loaded, plan, issued.host),
        "app_jupyter": app_jupyter,
        "app": plan.app if plan.opens else None,
        "port_range": list(notebook.port_range) or None,
        "start_timeout": notebook.start_timeout,
        "job": here.site.job_traits().for_the_agent(),
        "walltime": int(plan.allocation.walltime.total_seconds()),
        "shutdown_before": notebook.shutdown_before,
        "idle_timeout": plan.idle_timeout,
        "origins": list(notebook.origins),
        "kernels": {
            "tcp": here.loaded.settings.limits.tcp_kernels,
            "memory": str(session.directory.parent.with_name("kernels.json")),
        },
        "link": notebook.link,
        "shares": here.loaded.settings.limits.share is not None,
    }
    write("launch.json", json.dumps(launch, indent=1))


def _archive() -> bytes:
    """Return the agent's archive: from the cache, unless one of its files has changed since."""
    from binascii import crc32

    file, made_of = paths.cache_dir() / archive.NAME, archive.made_of()
    known, _, content = cache.read_bytes(file).partition(b"\n")
    # A file of the cache need not be whole after a power failure.
    if known != f"{crc32(content)} {made_of}".encode():
        content = archive.build()
        cache.replace(file, f"{crc32(content)} {made_of}\n".encode() + content)
    return content


def _made(here: ClusterContext, plan: Plan) -> dict[str, object]:
    if plan.environment.environment.kind != Kind.MADE:
        return {}
    from rps_core.launch import made

    return made.for_the_agent(plan.environment, here.loaded)


def _recover(
    here: ClusterContext,
    client: Client,
    store: Store,
    record: SessionRecord,
    issued: Issued,
    error: PluginError,
) -> NoReturn:
    """Undo a submission whose plugin failed; the scheduler may have accepted the job.

    Raises:
        PluginError: always: `error`, with what became of the job.
    """
    from rps_core.launch import undo

    job = undo.cancel_submitted(record, here, store)
    reason = f"{job.text}: {error.message}"
    _revoke(client, record, issued, reason)
    if job.is_over:
        store.end(
            record, now=time.time(), outcome="failed", reason=reason, cause=Cause.PLUGIN_BROKEN
        )
    raise PluginError(error.message, f"{error.hint}\n{job.advice}") from None


def _revoke(client: Client, record: SessionRecord, issued: Issued, reason: str) -> None:
    try:
        client.revoke(issued.name, issued.claim, short(reason), EndCause.NOT_SUBMITTED)
    except ServiceError as away:
        log.warning("name not revoked; it expires by itself", name=record.name, reason=away.message)


def _give_up(
    client: Client,
    store: Store,
    session: SessionFiles | None,
    record: SessionRecord,
    issued: Issued,
    error: BaseException,
) -> None:
    """Revoke the name and end the `session`, if this start created its directory."""
    interrupted = isinstance(error, KeyboardInterrupt)
    message = error.message if isinstance(error, RpsError) else f"{error}".partition("\n")[0]
    # In one line, whole: of a refusal of several lines the first may be a greeting.
    reason = "interrupted" if interrupted else f"not submitted: {' '.join(message.split())}"
    _revoke(client, record, issued, reason)
    if session is None or isinstance(error, JobError):
        return  # not created, or stopped by another command, which has recorded the end
    if interrupted or isinstance(error, OSError):
        store.remove(record.name)
        return
    if isinstance(error, PluginError):
        cause: str = Cause.PLUGIN_BROKEN
    else:
        cause = (error.cause if isinstance(error, SchedulerError) else "") or Cause.REFUSED
    ended = store.end(record, now=time.time(), outcome="failed", reason=reason, cause=cause)
    if not isinstance(error, RpsError):
        log.error("bug during the start", name=ended.name, kind=type(error).__name__)
