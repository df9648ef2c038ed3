"""Finds what runs have left on this machine, an engine and brokers, and removes it where the run is over."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path

from hydra.accounting.evidence import OffsetRange
from hydra.broker.admin import KafkaTopicAdmin
from hydra.broker.first_values import first_values
from hydra.broker.given_access import access_to_brokers
from hydra.broker.listener_security import kept_access
from hydra.engine.kube_access import kubernetes_access
from hydra.engine.kube_controller_objects import CONTROLLER, secrets_of
from hydra.engine.kube_launcher import KubernetesLauncher
from hydra.engine.kube_namespace import family_of, job_uid_of, owners_of
from hydra.engine.kube_objects import APP_LABEL, JOB_NAME_LABEL
from hydra.engine.kube_objects import OWNER_LABEL as KUBE_OWNER_LABEL
from hydra.engine.kube_responses import JobResponse, Metadata, PodResponse
from hydra.engine.marathon_access import MarathonAccess, given_access, local_access
from hydra.engine.marathon_launcher import MarathonLauncher
from hydra.engine.marathon_responses import OWNER_LABEL, AppResponse
from hydra.errors import BrokerError, HydraError, InfrastructureError
from hydra.files.atomic_write import try_lock
from hydra.files.folders import orphans, remove_run_folder, state_folder
from hydra.kafkatest import running_stack
from hydra.kafkatest.leftovers import KUBERNETES, Found, Judged, RunTrace, judged_in_order, run_id_in
from hydra.kafkatest.traces import forget_stacks_that_ended, forget_trace, read_traces
from hydra.options.kafka_access import KafkaAccess
from hydra.options.options import Options
from hydra.records.identity import identity_prefix
from hydra.run.clock import MonotonicClock, poll_until
from hydra.signals.keys import OWNER_DIGITS, read_keys

ADMIN_TIMEOUT_S = 15.0
REMOVE_TIMEOUT_S = 20.0
HERE = "this machine"
LABEL = "hydra"


class Remains:
    """What is left on this machine and on the Marathon and the brokers of the options; a context manager.

    Args:
        options: name the Marathon and the brokers.
        older_than_s: from which age on that counts as left which no run known here has made; None: from none on.
    """

    def __init__(self, options: Options, older_than_s: float | None = None) -> None:
        self._options = options
        self._older_than_s = older_than_s
        self._closing = contextlib.ExitStack()
        self._launchers: dict[str, MarathonLauncher] = {}
        self._admins: dict[str, KafkaTopicAdmin] = {}
        self._accesses: dict[str, KafkaAccess] = {}
        self._names: dict[str, str] = {}
        """How a trace calls a place, by the address that it is reached at."""
        self._logs: dict[str, Mapping[int, OffsetRange]] = {}
        """By the name of a topic, as it was when it was found."""
        self._traces: Mapping[RunTrace, bool] = {}
        self._apps: list[AppResponse] = []
        self._kubernetes: KubernetesLauncher | None = None
        self._anchors: Mapping[str, JobResponse] = {}
        """By name: on Kubernetes all that a run has made is its anchor's."""
        self._lost: dict[str, set[str]] = {}
        """By what they are called: the uids of jobs that are gone and have left pods."""

    def __enter__(self) -> Remains:  # noqa: PYI034  # typing has Self from 3.11 on
        return self

    def __exit__(self, *_error: object) -> None:
        self._closing.close()

    def find(self) -> tuple[Judged, ...]:
        """All that is there, of runs that are over and of others.

        Raises:
            HydraError: the Marathon or the brokers cannot be asked.
        """
        forget_stacks_that_ended()
        self._traces = read_traces()
        self._open_places()
        found = [
            *self._find_apps(),
            *self._find_anchors(),
            *self._find_lost_pods(),
            *self._find_on_brokers(),
            *_find_folders(),
            *self._find_files(),
        ]
        return judged_in_order(found, self._traces, time.time(), self._older_than_s, brokers_seen=bool(self._admins))

    def elsewhere(self) -> tuple[RunTrace, ...]:
        """The runs that are over and have left something where nobody has looked now."""
        seen = set(self._names.values())
        return tuple(
            trace for trace, alive in self._traces.items() if not alive and not _places(trace, kept=False) <= seen
        )

    def remove(self, judged: Judged) -> None:
        """Remove one thing of a run that is over.

        Raises:
            HydraError: it cannot be removed, or shows signs of life.
        """
        assert judged.state == "over"
        found = judged.found
        if judged.by_age and found.kind == "topic":
            self._check_quiet(found)
        removals: dict[str, Callable[[Found], None]] = {
            "app": self._remove_app if judged.found.where in self._launchers else self._remove_on_kubernetes,
            "topic": lambda topic: self._admins[topic.where].delete_topic(topic.name),
            # Whoever came into a group that is only old since it was found shows that its run goes on.
            "group": lambda group: self._admins[group.where].delete_groups(
                [group.name], with_members=not judged.by_age
            ),
            "folder": lambda folder: remove_run_folder(Path(folder.name)),
            "file": lambda file: Path(file.name).unlink(missing_ok=True),
        }
        removals[found.kind](found)

    def forget(self, left: tuple[Judged, ...]) -> None:
        """Remove the traces of runs that are over and have nothing left, but for ``left``."""
        seen = set(self._names.values())
        names = {run_id_in(each.found.name, self._prefixes()) for each in left} | {each.found.owner for each in left}
        for trace, alive in self._traces.items():
            nothing = _places(trace, kept=True) <= seen and not names & {trace.owner, *trace.topics}
            if nothing and not alive and not (trace.kept and trace.owner in self._owners()):
                forget_trace(trace)

    def _open_places(self) -> None:
        running = running_stack.find()
        given, stack = self._options.marathon_url, running.run_id if running is not None else ""
        if given is not None:
            self._open_marathon(given, given, given_access(self._options))
        if running is not None:
            access = local_access(running.marathon_url, Path(running.folder))
            self._open_marathon(running.marathon_url, f"stack:{stack}", access)
            # Topics of an old Kafka go with its stack.
            if running.bootstrap_servers and not running.settings.is_old:
                self._open_brokers(running.bootstrap_servers, f"stack:{stack}", kept_access(Path(running.folder)))
        if (servers := self._options.bootstrap_servers) is not None:
            self._open_brokers(servers, servers, access_to_brokers(self._options))
        if self._options.engine == "kubernetes":
            cluster = kubernetes_access(self._options.kube_context, self._options.kube_namespace)
            launcher = self._kubernetes = KubernetesLauncher(cluster, self._options)
            self._closing.callback(launcher.close)
            launcher.facts()
            self._names[f"Kubernetes {launcher.place}"] = f"{KUBERNETES}{launcher.place}"

    def _open_marathon(self, url: str, name: str, access: MarathonAccess) -> None:
        launcher = MarathonLauncher(access, mesos_url=self._options.mesos_url)
        self._closing.callback(launcher.close)
        launcher.facts()
        self._launchers[url], self._names[f"Marathon {url}"] = launcher, name

    def _open_brokers(self, servers: str, name: str, access: KafkaAccess) -> None:
        admin = KafkaTopicAdmin(servers, ADMIN_TIMEOUT_S, access)
        self._closing.callback(admin.close)
        admin.check()
        self._admins[servers], self._accesses[servers] = admin, access
        self._names[f"brokers {servers}"] = name

    def _prefixes(self) -> set[str]:
        """What the names of groups may begin with, before the run's."""
        return {"", self._options.group_prefix, *(trace.group_prefix for trace in self._traces)}

    def _owners(self) -> set[str]:
        owners = {app.labels[OWNER_LABEL] for app in self._apps if OWNER_LABEL in app.labels}
        return owners | {job.metadata.labels.get(KUBE_OWNER_LABEL, "") for job in self._anchors.values()} - {""}

    def _find_apps(self) -> Iterator[Found]:
        for url, launcher in self._launchers.items():
            for app in launcher.apps():
                if LABEL in app.labels:
                    self._apps.append(app)
                    in_use = "a deployment works on it" if app.deployments else ""
                    yield Found("app", app.id, url, _seconds(app.version), app.labels.get(OWNER_LABEL, ""), in_use)

    def _find_anchors(self) -> Iterator[Found]:
        if self._kubernetes is None:
            return
        # An app without an owner is the doctor's; it has a deadline of its own.
        found = self._kubernetes.jobs()
        there = {job.metadata.uid for job in found}
        # Without the one that it is a part of, a job is left by itself until it is collected.
        jobs = [job for job in found if not there & set(owners_of(job))]
        self._anchors = {job.metadata.name: job for job in jobs if KUBE_OWNER_LABEL in job.metadata.labels}
        for name, job in self._anchors.items():
            owner = job.metadata.labels[KUBE_OWNER_LABEL]
            runs = job.metadata.labels.get(APP_LABEL) == CONTROLLER and job.status.active
            in_use = "its controller is in the cluster, and runs" if runs else ""
            yield Found("app", name, self._kubernetes.place, _created_s(job.metadata), owner, in_use)

    def _find_lost_pods(self) -> Iterator[Found]:
        """Pods whose job is gone, by the job that they were of."""
        if self._kubernetes is None:
            return
        found: dict[tuple[str, str], list[PodResponse]] = {}
        for pod in self._kubernetes.lost_pods():
            labels = pod.metadata.labels
            key = (labels.get(JOB_NAME_LABEL, ""), labels.get(KUBE_OWNER_LABEL, ""))
            found.setdefault(key, []).append(pod)
        for (job, owner), pods in found.items():
            name = f"{job} (pods without their job)"
            if name in self._lost:  # jobs of two runs have had that name
                name = f"{job} (pods without their job, of {owner or 'nobody'})"
            self._lost[name] = {job_uid_of(pod) for pod in pods}
            oldest = min(pods, key=lambda pod: _created_s(pod.metadata)).metadata
            yield Found("app", name, self._kubernetes.place, _created_s(oldest), owner)

    def _remove_on_kubernetes(self, found: Found) -> None:
        """Delete an anchor with the jobs that it owns, or the pods of a job that is gone; wait until they are, too."""
        launcher = self._kubernetes
        assert launcher is not None
        uids = self._lost.get(found.name)
        if uids is None:
            anchor = self._anchors[found.name].metadata
            jobs = launcher.jobs()
            uids = family_of(anchor.uid, jobs)
            family = [job for job in jobs if job.metadata.uid in uids]
            gone_secrets = [launcher.delete_secret(name) for job in family for name in secrets_of(job)]
            # A Secret that we may not delete goes by the garbage collector, which then has to be waited for.
            launcher.delete(anchor.name, anchor.uid, foreground=not all(gone_secrets))
            # Kubernetes does the rest, too, though not soon when its API server was away.
            for job in family:
                if job.metadata.uid != anchor.uid:
                    launcher.delete(job.metadata.name, job.metadata.uid)
        launcher.delete_pods(uids)

        def gone() -> bool:
            lost = launcher.lost_pods()
            jobs = launcher.jobs()
            return not (
                uids & {job_uid_of(pod) for pod in lost}
                or any(uids & {job.metadata.uid, *owners_of(job)} for job in jobs)
            )

        if not poll_until(MonotonicClock(), gone, REMOVE_TIMEOUT_S):
            text = f"the jobs or pods of {found.name} are still there {REMOVE_TIMEOUT_S:g} s after they were deleted"
            raise InfrastructureError(text, hint="see whether Kubernetes' controller manager runs, and try it again")

    def _find_on_brokers(self) -> Iterator[Found]:
        known = {topic for trace in self._traces for topic in trace.topics}
        for servers, admin in self._admins.items():
            for name in admin.topics():
                if run_id_in(name) == name and (topic := self._topic(servers, admin, name, known=name in known)):
                    yield topic
            for name in admin.groups():
                if run_id := run_id_in(name, self._prefixes()):
                    yield Found("group", name, servers, _started_s(run_id), in_use=_used_by(admin, name))

    def _topic(self, servers: str, admin: KafkaTopicAdmin, name: str, *, known: bool) -> Found | None:
        """A topic, with its proof: the records of a run begin with a tag that is made of the run's name.

        None where it was deleted meanwhile.
        """
        newest_s, unproven = _started_s(name), ""
        try:
            log = self._logs[name] = admin.offsets(name)
            newest_s = max(admin.newest_record_s(name) or 0.0, newest_s)
            values = () if known else self._first_values(servers, name, log)
        except BrokerError as error:
            # Brokers that are gone raise here again: that is no doubt about a topic.
            if name not in admin.topics():
                return None
            unproven = f"it cannot be read: {error.message}"
        else:
            if not all(value.startswith(identity_prefix(name)) for value in values):
                unproven = "its records are not of the run that it is named after"
        return Found("topic", name, servers, newest_s, unproven=unproven)

    def _first_values(self, servers: str, name: str, log: Mapping[int, OffsetRange]) -> Collection[bytes]:
        return first_values(servers, self._accesses[servers], name, log, ADMIN_TIMEOUT_S).values()

    def _find_files(self) -> Iterator[Found]:
        """Keys of apps that are gone, and locks that nobody holds."""
        seen = set(self._names.values())
        kept = {trace.owner for trace, alive in self._traces.items() if not alive and trace.marathon in seen}
        alive = {trace.owner for trace, alive in self._traces.items() if alive}
        for lock in sorted(state_folder().glob("signals-*.lock")):
            key = lock.with_suffix(".key")
            with contextlib.suppress(HydraError, OSError), try_lock(lock) as free:
                if not free:
                    continue
                if not key.exists():
                    yield Found("file", str(lock), HERE, lock.stat().st_mtime, is_left=True)
                elif (owner := read_keys(key).public[:OWNER_DIGITS]) in kept - alive - self._owners():
                    yield Found("file", str(key), HERE, key.stat().st_mtime, owner, is_left=True)

    def _remove_app(self, app: Found) -> None:
        launcher = self._launchers[app.where]
        if [now.labels.get(OWNER_LABEL, "") for now in launcher.apps() if now.id == app.name] not in ([], [app.owner]):
            raise InfrastructureError(f"the app {app.name} is another one now, and stays")
        deadline_s = time.monotonic() + REMOVE_TIMEOUT_S

        def asked() -> bool:
            try:
                launcher.remove(app.name)
            except HydraError as error:
                if not error.retryable or time.monotonic() >= deadline_s:
                    raise
                return False
            return True

        clock = MonotonicClock()
        poll_until(clock, asked, REMOVE_TIMEOUT_S, every_s=0.2)
        if not poll_until(clock, lambda: launcher.removed(app.name), REMOVE_TIMEOUT_S):
            raise InfrastructureError(f"the app {app.name} is still there {REMOVE_TIMEOUT_S:g} s after it was deleted")

    def _check_quiet(self, topic: Found) -> None:
        admin = self._admins[topic.where]
        if topic.name in admin.topics() and admin.offsets(topic.name) != self._logs[topic.name]:
            raise InfrastructureError(f"the topic {topic.name} has grown since it was found, and stays")


def _places(trace: RunTrace, *, kept: bool) -> set[str]:
    """Where a run may have left something; without its apps where they were to stay up, unless those count, too."""
    marathon = trace.marathon if kept or not trace.kept else ""
    return {place for place in (marathon, trace.brokers if trace.topics else "") if place}


def _used_by(admin: KafkaTopicAdmin, group_id: str) -> str:
    """By whom a group is used; whose members nobody may count, that may be in use."""
    try:
        members = admin.member_count(group_id)
    except BrokerError as error:
        admin.groups()  # raises where the brokers are gone
        return f"perhaps: {error.message}"
    return f"{members} members" if members else ""


def _find_folders() -> Iterator[Found]:
    for folder in orphans():
        yield Found("folder", str(folder), HERE, folder.stat().st_mtime, is_left=True)


def _started_s(run_id: str) -> float:
    """When a run started, by its name."""
    with contextlib.suppress(ValueError):
        started = datetime.strptime(run_id[6:21], "%Y%m%d-%H%M%S")  # noqa: DTZ007  # it is UTC, as the next line says
        return started.replace(tzinfo=timezone.utc).timestamp()
    return 0.0


def _created_s(metadata: Metadata) -> float:
    return metadata.creation_timestamp.timestamp() if metadata.creation_timestamp is not None else time.time()


def _seconds(version: str) -> float:
    """A version of Marathon's, which is a time; now, where it is none: nothing is known of its age."""
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(version.replace("Z", "+00:00")).timestamp()
    return time.time()
