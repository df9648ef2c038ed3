"""``hydra cli``: what runs on a Marathon, and the few things that one does to it by hand."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import click
from click.shell_completion import CompletionItem, get_completion_class

from hydra.cli.flags import chosen_options, file_flags, option_flags
from hydra.cli.terminal import interruptible, print_json, print_rows, printable
from hydra.errors import AppLockedError, HydraError, InfrastructureError, UsageError
from hydra.run.clock import MonotonicClock, poll_until

if TYPE_CHECKING:
    from hydra.engine.kube_launcher import KubernetesLauncher
    from hydra.engine.marathon_launcher import MarathonLauncher

ENGINE_FLAGS = (
    "engine",
    "kube_context",
    "kube_namespace",
    "marathon_url",
    "marathon_secrets",
    "marathon_ca_file",
    "marathon_timeout",
    "mesos_url",
)
WAIT_S = 60.0
LOOK_EVERY_S = 0.2
COMPLETE_WITHIN_S = 2.0
LOG_BYTES = 64 * 1024

_ID = re.compile(r"(/[a-z0-9]([a-z0-9.-]*[a-z0-9])?)+", re.ASCII)

F = TypeVar("F", bound=Callable[..., object])


@click.group()
def cli() -> None:
    """Look at a Marathon's apps, tasks and agents, and stop, scale or read the logs of what runs there."""


@cli.group()
def ls() -> None:
    """List agents, apps, or the tasks of an app."""


@cli.group()
def force() -> None:
    """Do it although a deployment holds the app."""


def _on_kubernetes(act: Callable[[ModuleType, KubernetesLauncher], None]) -> bool:
    """Whether Kubernetes is the engine in use; then ``act`` is called with hydra.cli.kube_cli and its launcher."""
    options = chosen_options(click.get_current_context(), for_a_run=False)
    if options.engine != "kubernetes":
        return False
    from hydra.cli import kube_cli
    from hydra.engine.kube_access import kubernetes_access
    from hydra.engine.kube_launcher import KubernetesLauncher

    with interruptible():
        access = kubernetes_access(options.kube_context, options.kube_namespace)
        with contextlib.closing(KubernetesLauncher(access, options)) as launcher:
            act(kube_cli, launcher)
    return True


@contextlib.contextmanager
def _launcher(ctx: click.Context | None = None) -> Iterator[MarathonLauncher]:
    from hydra.engine.marathon_launcher import MarathonLauncher
    from hydra.kafkatest import running_stack

    options = chosen_options(ctx or click.get_current_context(), for_a_run=False)
    if options.engine == "kubernetes":
        raise UsageError("agents are Marathon's, and --engine=kubernetes has nodes", hint="see 'kubectl get nodes'")
    with interruptible():
        access = running_stack.access_to_marathon(options)
        with contextlib.closing(MarathonLauncher(access, mesos_url=options.mesos_url)) as launcher:
            yield launcher


def _complete_from(
    names: Callable[[MarathonLauncher], list[str]],
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Completes by what there is on the Marathon; by nothing, where that cannot be had at once."""

    def complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            with _launcher(ctx) as launcher:
                found = names(launcher)
        except HydraError:
            return []
        wanted = incomplete if not incomplete or incomplete.startswith("/") else f"/{incomplete}"
        return [CompletionItem(name) for name in found if name.startswith((incomplete, wanted))]

    return complete


_app_argument = click.argument(
    "app", shell_complete=_complete_from(lambda launcher: [app.id for app in launcher.apps(limit_s=COMPLETE_WITHIN_S)])
)
_task_argument = click.argument(
    "task",
    shell_complete=_complete_from(lambda launcher: [task.id for task in launcher.all_tasks(limit_s=COMPLETE_WITHIN_S)]),
)


def _app_id(text: str) -> str:
    app_id = "/" + text.strip("/")
    if not _ID.fullmatch(app_id):
        raise UsageError(f"invalid app id {text!r}", hint="such as /g1/kafka-sub; see 'hydra cli ls apps'")
    return app_id


def _engine_flags(function: F) -> F:
    as_json = click.option("--json", "as_json", is_flag=True, help="print JSON in place of a table")
    return option_flags(*ENGINE_FLAGS)(as_json(function))


@ls.command()
@_engine_flags
def agents(*, as_json: bool, **_flags: object) -> None:
    """List the agents with their attributes and what is free on them."""
    with _launcher() as launcher:
        rows = [
            {
                "host": agent.hostname,
                "id": agent.agent_id,
                "active": agent.active,
                "attributes": agent.attributes,
                "cpus": agent.resources.get("cpus"),
                "cpus_used": agent.used.get("cpus"),
                "mem_mib": agent.resources.get("mem"),
                "mem_mib_used": agent.used.get("mem"),
                "ports": agent.resources.get("ports"),
                "url": agent.url,
            }
            for agent in launcher.agents()
        ]
    columns = ("host", "active", "attributes", "cpus", "cpus_used", "mem_mib", "mem_mib_used", "ports", "id")
    print_rows(rows, columns, as_json=as_json)


ls.add_command(agents, "slaves")


@ls.command()
@_engine_flags
def apps(*, as_json: bool, **_flags: object) -> None:
    """List the apps."""
    if _on_kubernetes(lambda kube_cli, launcher: kube_cli.list_apps(launcher, as_json=as_json)):
        return
    with _launcher() as launcher:
        rows = [
            {
                "app": app.id,
                "instances": app.instances,
                "running": app.tasks_running,
                "staged": app.tasks_staged,
                "cpus": app.cpus,
                "mem_mib": app.mem,
                "constraints": [" ".join(constraint) for constraint in app.constraints],
                "deployments": [deployment.id for deployment in app.deployments],
                "version": app.version,
            }
            for app in launcher.apps()
        ]
    columns = ("app", "instances", "running", "staged", "cpus", "mem_mib", "constraints", "deployments", "version")
    print_rows(rows, columns, as_json=as_json)


@ls.command()
@_app_argument
@_engine_flags
def task(*, app: str, as_json: bool, **_flags: object) -> None:
    """List the tasks of an app."""
    app_id = _app_id(app)
    if _on_kubernetes(lambda kube_cli, launcher: kube_cli.list_tasks(launcher, app_id, as_json=as_json)):
        return
    with _launcher() as launcher:
        if not launcher.exists(app_id):
            raise _no_app(app_id)
        rows = [
            {
                "task": item.id,
                "host": item.host,
                "ports": item.ports or (),
                "state": item.state,
                "staged_at": item.staged_at,
                "started_at": item.started_at,
                "agent": item.slave_id,
            }
            for item in launcher.app_tasks(app_id)
        ]
    print_rows(rows, ("task", "host", "ports", "state", "started_at"), as_json=as_json)


ls.add_command(task, "tasks")


@cli.command(short_help="Delete an app, or a group with all its apps.")
@_app_argument
@_engine_flags
def stop(*, app: str, as_json: bool, **_flags: object) -> None:
    """Delete an app, or a group with all its apps, and wait until the last task is gone."""
    _stop(_app_id(app), as_json=as_json, forced=False)


@force.command(name="stop")
@_app_argument
@_engine_flags
def force_stop(*, app: str, as_json: bool, **_flags: object) -> None:
    """Delete an app or a group although a deployment holds it; that deployment is cancelled."""
    _stop(_app_id(app), as_json=as_json, forced=True)


def _stop(app_id: str, *, as_json: bool, forced: bool) -> None:
    if _on_kubernetes(lambda kube_cli, launcher: kube_cli.stop_app(launcher, app_id, as_json=as_json)):
        return
    with _launcher() as launcher:
        found = [item.id for item in launcher.apps() if item.id == app_id or item.id.startswith(f"{app_id}/")]
        if not found:
            raise _no_app(app_id)
        delete = launcher.delete if app_id in found else launcher.delete_group
        try:
            deployment = delete(app_id, force=forced)
        except AppLockedError as error:
            raise AppLockedError(
                error.message,
                hint=f"wait until it is done, or 'hydra cli force stop {app_id}'",
                deployment_ids=error.deployment_ids,
            ) from error
        _wait_for(launcher, deployment, f"the tasks of {app_id}")
    _tell({"stopped": found, "deployment": deployment}, f"stopped {', '.join(found)}", as_json=as_json)


@cli.command()
@_app_argument
@click.argument("instances", type=click.IntRange(0, 100_000))
@_engine_flags
def scale(*, app: str, instances: int, as_json: bool, **_flags: object) -> None:
    """Have so many tasks of an app, and wait until they run."""
    app_id = _app_id(app)
    if _on_kubernetes(lambda kube_cli, launcher: kube_cli.scale_app(launcher, app_id, instances, as_json=as_json)):
        return
    with _launcher() as launcher:
        if not launcher.exists(app_id):
            raise _no_app(app_id)
        deployment = launcher.scale(app_id, instances)
        _wait_for(launcher, deployment, f"the scaling of {app_id}", app_id)
        running = sum(1 for item in launcher.tasks(app_id) if item.running)
    _tell(
        {"app": app_id, "instances": instances, "running": running, "deployment": deployment},
        f"{app_id}: {running} of {instances} tasks run",
        as_json=as_json,
    )


@cli.command(short_help="Show the end of a task's stdout and stderr.")
@_task_argument
@click.option("--bytes", "limit", type=click.IntRange(1), default=LOG_BYTES, help=f"of each file's end  [{LOG_BYTES}]")
@_engine_flags
def logs(*, task: str, limit: int, as_json: bool, **_flags: object) -> None:
    """Show where a task's sandbox is, and the end of its stdout and stderr; also of a task that has ended."""
    if _on_kubernetes(lambda kube_cli, launcher: kube_cli.show_log(launcher, task, limit, as_json=as_json)):
        return
    with _launcher() as launcher:
        mesos = launcher.mesos()
        sandbox = mesos.sandbox(task)
        files = {name: mesos.read(sandbox, name, limit) for name in ("stdout", "stderr")}
    if as_json:
        print_json({"task": task, "host": sandbox.host, "folder": sandbox.folder, **files})
        return
    click.echo(f"log location: {printable(f'{sandbox.host}:{sandbox.folder}')}")
    for name, text in files.items():
        click.echo(f"--- {name}")
        for line in text.splitlines():
            click.echo(printable(line.replace("\t", "    ")))


@cli.command()
@option_flags("engine", "kube_context", "kube_namespace", "app_prefix", "output")
@file_flags
@click.pass_context
def result(ctx: click.Context, /, **_flags: object) -> int:
    """Fetch the result of a run whose controller is in the cluster (--kube_controller), and remove it there.

    A run that still goes on is followed until its end, as by the command that started it.
    """
    from hydra.cli.kube_run import fetch_result

    return fetch_result(ctx)


@cli.command(hidden=True)
def controller() -> int:
    """Be the controller of a run, in a pod that --kube_controller has started."""
    from hydra.kafkatest.kube_in_pod import run_ordered

    with interruptible():
        return run_ordered()


@cli.command(short_help="Print a shell's completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's completion script: eval "$(hydra cli completion bash)" in ~/.bashrc."""
    from hydra.cli.commands import hydra

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(hydra, {}, "hydra", "_HYDRA_COMPLETE").source())


def _no_app(app_id: str) -> UsageError:
    return UsageError(f"there is no app {app_id}", hint="see 'hydra cli ls apps'")


def _wait_for(launcher: MarathonLauncher, deployment: str, what: str, app_id: str = "") -> None:
    """Wait until a deployment is over; where it is not after a minute, the error says why, as far as Marathon does."""

    def done() -> bool:
        return all(item.id != deployment for item in launcher.deployments())

    if not poll_until(MonotonicClock(), done, WAIT_S, every_s=LOOK_EVERY_S):
        text = launcher.waiting_reason(app_id).text if app_id else ""
        reason = f" ({text})" if text else ""
        raise InfrastructureError(f"{what}: deployment {deployment} is not done after {WAIT_S:g} s{reason}")


def _tell(document: Mapping[str, object], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(document)
    else:
        click.echo(printable(text))
