"""The launcher on Marathon's v2 API: the only module that imports the ``marathon`` package.

That package (0.13.0, its last release) needs one repair before it works on today's Python, swallows the reason of a
failed connection, and logs every failure; all three are dealt with here, so that nothing else need know.
"""

from __future__ import annotations

import collections.abc
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import marathon
import marathon.exceptions
import marathon.util
import requests
from marathon.models import MarathonApp, MarathonTask

from hydra.core.app_spec import AppSpec, Capabilities, Task
from hydra.core.configuration import Endpoint
from hydra.core.errors import AppLockedError, MarathonError

# marathon.util looks for collections.Iterable, which Python 3.10 removed: an app with port definitions or constraints
# could not be turned into JSON. Upstream's last, unreleased commit does the same.
marathon.util.collections = collections.abc

# Its failures reach the user as our errors; without a handler of its own they would be printed beside them.
logging.getLogger("marathon").addHandler(logging.NullHandler())

REQUEST_TIMEOUT_S = 10.0

T = TypeVar("T")


class _Session(requests.Session):
    """A session that remembers why the last request got no answer; the package throws the reason away."""

    def __init__(self) -> None:
        super().__init__()
        self.failure = ""

    def request(self, *args: object, **kwargs: object) -> requests.Response:
        try:
            return super().request(*args, **kwargs)  # type: ignore[arg-type]  # handed through as it came
        except requests.RequestException as error:
            self.failure = _reason(error)
            raise


def _reason(error: requests.RequestException) -> str:
    """The innermost cause, without the layers of library names around it."""
    if isinstance(error, requests.Timeout):
        return f"no answer within {REQUEST_TIMEOUT_S:g} s"
    cause: BaseException = error
    while (inner := getattr(cause, "reason", None) or cause.__cause__ or cause.__context__) and isinstance(
        inner, BaseException
    ):
        cause = inner
    return str(getattr(cause, "strerror", None) or cause)


class MarathonLauncher:
    """Implements ``harness.protocols.Launcher``.

    Args:
        url: Marathon's address, such as ``http://127.0.0.1:8080``.
        local: whether it is the local Marathon: then no proxy of the environment is used.
    """

    def __init__(self, url: str, *, local: bool) -> None:
        self._url = url
        self._session = _Session()
        self._session.trust_env = not local
        self._client = marathon.MarathonClient(url, timeout=REQUEST_TIMEOUT_S, session=self._session)
        self._capabilities = Capabilities(engine="marathon", one_machine=local)

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do."""
        return self._capabilities

    def check(self) -> str:
        """Reach Marathon; returns its version.

        Raises:
            MarathonError: when it cannot be reached or is no Marathon.
        """
        return str(self._call("be asked for its version", self._client.get_info).version)

    def apps(self) -> Sequence[tuple[str, int, int]]:
        """(id, instances wanted, tasks that run) of every app.

        Raises:
            MarathonError: when it cannot be reached.
        """
        found = self._call("list its apps", self._client.list_apps)
        return tuple((app.id, app.instances, app.tasks_running) for app in found)

    def apply(self, spec: AppSpec) -> None:
        """Create the app, or change it to the spec; see the Protocol."""
        current = self._app(spec.app_id)
        if current is None:
            created = self._call(
                f"create {spec.app_id}", lambda: self._client.create_app(spec.app_id, _marathon_app(spec))
            )
            if not created:
                raise MarathonError(f"Marathon at {self._url} did not create {spec.app_id}")
        elif _same_but_instances(current, spec):
            if current.instances != spec.instances:
                self._call(
                    f"scale {spec.app_id}", lambda: self._client.scale_app(spec.app_id, instances=spec.instances)
                )
        else:
            self._call(f"change {spec.app_id}", lambda: self._client.update_app(spec.app_id, _marathon_app(spec)))

    def tasks(self, app_id: str) -> Sequence[Task]:
        """The app's tasks as they are now; see the Protocol."""
        try:
            found = self._call(f"list the tasks of {app_id}", lambda: self._client.list_tasks(app_id))
        except MarathonError as error:
            if error.status == 404:
                return ()
            raise
        return tuple(_task(item) for item in found)

    def trouble(self, app_id: str) -> str:
        """Marathon's word on the app's last failure; see the Protocol."""
        app = self._app(app_id)
        if app is None:
            return f"{app_id} does not exist"
        failure = app.last_task_failure
        return f"{failure.state}: {failure.message}" if failure is not None else ""

    def remove(self, app_id: str) -> None:
        """Delete the app; see the Protocol.

        With force, which is Marathon's own default for a delete: the lock that it breaks is our own deployment's, such
        as one that waits for tasks which crash at their start.
        """
        try:
            self._call(f"delete {app_id}", lambda: self._client.delete_app(app_id, force=True))
        except MarathonError as error:
            if error.status != 404:
                raise

    def removed(self, app_id: str) -> bool:
        """Whether the app is gone and no deployment is at work on it.

        A deleted app is 404 while its tasks still die; its deployment ends when the last one is dead.
        """
        if self._app(app_id) is not None:
            return False
        deployments = self._call("list the deployments", self._client.list_deployments)
        return not any(app_id in (deployment.affected_apps or ()) for deployment in deployments)

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()
        self._client.sse_session.close()

    def _app(self, app_id: str) -> MarathonApp | None:
        try:
            return self._call(f"look at {app_id}", lambda: self._client.get_app(app_id))
        except MarathonError as error:
            if error.status == 404:
                return None
            raise

    def _call(self, what: str, call: Callable[[], T]) -> T:
        """Call the package; its errors, and those of an answer that is none of Marathon's, become ours."""
        try:
            return call()
        except marathon.exceptions.NoResponseError as error:
            raise MarathonError(
                f"Marathon at {self._url} cannot be reached ({self._session.failure})",
                way_out="check --marathon_url or [marathon] in hydra.ini",
            ) from error
        except marathon.exceptions.ConflictError as error:
            if "locked" in error.error_message:
                raise AppLockedError(
                    f"Marathon at {self._url} would not {what}: {error.error_message}", status=409
                ) from error
            raise MarathonError(
                f"Marathon at {self._url} would not {what}: {error.error_message}", status=409
            ) from error
        except marathon.exceptions.MarathonHttpError as error:
            raise MarathonError(
                f"Marathon at {self._url} would not {what}: HTTP {error.status_code} {error.error_message}",
                status=error.status_code,
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise MarathonError(
                f"{self._url} answered what Marathon does not, when asked to {what}",
                way_out="check --marathon_url or [marathon] in hydra.ini",
            ) from error


def _marathon_app(spec: AppSpec) -> MarathonApp:
    return MarathonApp(
        cmd=spec.command,
        instances=spec.instances,
        cpus=spec.cpus,
        mem=spec.mem_mib,
        port_definitions=[{"port": 0, "protocol": "tcp"} for _ in range(spec.port_count)],
        env=dict(spec.env),
        labels=dict(spec.labels),
    )


def _same_but_instances(app: MarathonApp, spec: AppSpec) -> bool:
    return (
        app.cmd == spec.command
        and app.cpus == spec.cpus
        and app.mem == spec.mem_mib
        and dict(app.env or {}) == dict(spec.env)
        and dict(app.labels or {}) == dict(spec.labels)
        and len(app.port_definitions or ()) == spec.port_count
    )


def _task(item: MarathonTask) -> Task:
    endpoint = Endpoint(item.host, item.ports[0]) if item.host and item.ports else None
    return Task(task_id=item.id, app_id=item.app_id, running=item.state == "TASK_RUNNING", endpoint=endpoint)
