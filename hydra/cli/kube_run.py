"""``hydra kafka --kube_controller`` and ``hydra cli result``: a run whose controller is a Job in the cluster.

It goes on when this command ends without being asked to end it: when its terminal closes, or the machine is off.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hydra.cli.flags import OutputErrors, Outputs, chosen_options, parse_outputs
from hydra.cli.run_outputs import tell_run, write_files
from hydra.cli.terminal import ASKED_BY_A_USER, interruptible
from hydra.cli.watch import asked_watch
from hydra.errors import (
    HydraError,
    InfrastructureError,
    InterruptedRunError,
    KubernetesError,
    OutputError,
    RemoteRunError,
    UsageError,
)
from hydra.files.atomic_write import write_json
from hydra.run.clock import MonotonicClock, poll_until
from hydra.run.record import RunRecord

if TYPE_CHECKING:
    from hydra.cli.progress import Display
    from hydra.engine.kube_controller import ControllerJob, ControllerState
    from hydra.engine.kube_controller_objects import Manifest
    from hydra.options.options import Options
    from hydra.run.clock import Clock

LOOK_EVERY_S = 1.0
AWAY_LIMIT_S = 900.0
"""So long the API server may be away while a run is followed: the run does not need this command."""

_QUOTED = re.compile(r'"[^"]*"')
"""Names of pods, which change from try to try."""

STOP_LIMIT_S = 150.0
REMOVE_LIMIT_S = 30.0
SIGNALLED = 128
"""Beyond it, exit codes are of signals."""


def run_in_cluster(ctx: click.Context, options: Options, account: str, outputs: Outputs, workload: str) -> int:
    """Start the controller as a Job, follow it, and bring its result here. Returns the run's exit code."""
    from hydra.broker.given_access import access_to_brokers
    from hydra.codec import encode
    from hydra.engine.kube_controller import ControllerJob
    from hydra.engine.kube_controller_objects import MAX_ORDER_BYTES
    from hydra.kafkatest.kube_order import ControllerOrder, check_controller

    check_controller(options)
    from hydra.cli.progress import shown_progress
    from hydra.engine.kube_access import kubernetes_access

    with contextlib.closing(kubernetes_access(options.kube_context, options.kube_namespace)) as access:
        # It has no file of this machine, and is in the cluster and namespace of its Job.
        there = dataclasses.replace(options, output=None, kube_context=None, kube_namespace=access.namespace)
        order = encode(ControllerOrder(there, access_to_brokers(options)))
        if len(order) > MAX_ORDER_BYTES:
            text = f"the order of this run has {len(order)} bytes, and a Secret has room for {MAX_ORDER_BYTES}"
            raise UsageError(text, hint="name a smaller --kafka_ca_file")
        with (
            interruptible(),
            asked_watch(ctx) as watch,
            shown_progress(outputs.live, watch) as progress,
            contextlib.closing(ControllerJob(access, MonotonicClock(), options.app_prefix)) as job,
        ):
            watch.begin(options)
            follower = Follower(job, progress, outputs, MonotonicClock(), workload)
            with follower.ended_on_purpose():
                follower.start(options, account, order)
                follower.follow(options.start_deadline_s)
            code = follower.bring()
            if follower.record is not None:
                watch.finish(follower.record)
            return code


def fetch_result(ctx: click.Context) -> int:
    """Follow a run that was started before until its end, and bring its result here. Returns the run's exit code."""
    options = chosen_options(ctx, for_a_run=False)
    outputs = parse_outputs(ctx, options)
    if options.engine != "kubernetes":
        raise UsageError("results in a cluster are those of --engine=kubernetes", hint="add it")
    from hydra.cli.progress import shown_progress
    from hydra.engine.kube_access import kubernetes_access
    from hydra.engine.kube_controller import ControllerJob

    access = kubernetes_access(options.kube_context, options.kube_namespace)
    with (
        interruptible(),
        shown_progress(outputs.live) as progress,
        contextlib.closing(ControllerJob(access, MonotonicClock(), options.app_prefix)) as job,
    ):
        job.attach()
        follower = Follower(job, progress, outputs, MonotonicClock())
        follower.follow(AWAY_LIMIT_S)
        return follower.bring()


class Follower:
    """Follows a controller in the cluster, and tells what it tells."""

    def __init__(
        self, job: ControllerJob, progress: Display, outputs: Outputs, clock: Clock, workload: str = ""
    ) -> None:
        from hydra.kafkatest.kube_order import Listener

        self.job = job
        self.record: RunRecord | None = None
        self._progress = progress
        self._outputs = outputs
        self._workload = workload
        self._listener = Listener(progress)
        self._clock = clock
        self._last: ControllerState | None = None
        self._told: set[str] = set()

    def start(self, options: Options, account: str, order: bytes) -> None:
        """Start the controller, and tell how its result is fetched without this command."""
        from hydra.engine.kube_refusals import KubernetesUnavailableError

        self.job.check_right("get")
        try:
            self.job.create(options, account, order)
        except HydraError as error:
            if self.job.made or isinstance(error, KubernetesUnavailableError):  # which may have made it all the same
                self.remove()
            raise
        names = ("kube_context", "kube_namespace")
        flags = [f"--{name}={value}" for name in names if (value := getattr(options, name)) is not None]
        fetch = " ".join(["hydra cli result --engine=kubernetes", *flags, f"--app_prefix={options.app_prefix}"])
        self._progress.note(
            "the run is in the cluster: Ctrl-C ends it, and it goes on if this terminal closes; its result is kept"
            f" there for a day: {fetch}"
        )

    @contextlib.contextmanager
    def ended_on_purpose(self) -> Iterator[None]:
        """Whoever ends this command within this block ends the run. A terminal that closes has asked for nothing."""
        try:
            yield
        except InterruptedRunError as error:
            if error.signal_number not in ASKED_BY_A_USER:
                raise
            self._end(error)
            raise

    def follow(self, start_limit_s: float) -> None:
        """Follow the run until its controller has ended.

        Raises:
            KubernetesError: its pod does not start within the limit, or does not run any more and has not ended either;
                or the API server stays away, and the run goes on.
        """
        from hydra.engine.kube_refusals import KubernetesUnavailableError
        from hydra.engine.outage import Outage

        outage = Outage(self._clock, AWAY_LIMIT_S, KubernetesUnavailableError)
        limit_s, ran_at_s, away = start_limit_s, self._clock.now_s(), False
        while True:
            state = outage.look(self.job.look, None)
            if state is None and not away:
                self._progress.note("the API server cannot be reached; the run goes on")
            away = state is None
            if state is not None:
                self._last = state
                self._listener.hear(state.lines)
                if state.ended:
                    return
                self._tell_why(state)
                if state.runs:
                    limit_s, ran_at_s = AWAY_LIMIT_S, self._clock.now_s()
                elif state.final or self._clock.now_s() - ran_at_s > limit_s:
                    self.remove()
                    why = state.reason or "Kubernetes does not say why"
                    raise KubernetesError(f"the controller {state.pod or self.job.app_id} does not run: {why}")
            self._clock.sleep(LOOK_EVERY_S)

    def _tell_why(self, state: ControllerState) -> None:
        """Tell once of each thing that keeps the controller from running."""
        kind = _QUOTED.sub("", state.reason)
        if kind and kind not in self._told:
            self._told.add(kind)
            self._progress.note(f"the controller does not run: {state.reason}")

    def bring(self) -> int:
        """Fetch the result, write and print it, and remove what is left of it in the cluster."""
        manifest = self.job.manifest()
        if manifest is None:
            self.remove()
            raise InfrastructureError(
                f"the controller in the cluster ended without a result ({self._why()})",
                hint="its topic may be left: see 'hydra clean --older_than=1', with the same flags",
            )
        self._fetch(manifest)
        code = self._tell()
        self.remove()
        if manifest.error:
            by_signal = manifest.exit_code > SIGNALLED
            text = f"the run was ended in the cluster ({manifest.error})" if by_signal else manifest.error
            raise RemoteRunError(text, hint=manifest.hint, exit_code=manifest.exit_code)
        return code

    def _why(self) -> str:
        """Why a controller ended, as far as it can be seen."""
        last = self._last
        why = last.reason if last is not None and last.reason else "its pod is gone"
        pod = f"{last.pod}: " if last is not None and last.pod else ""
        lines = " | ".join(self._listener.others[-3:])
        return f"{pod}{why}" + (f", its last lines: {lines}" if lines else "")

    def _fetch(self, manifest: Manifest) -> None:
        from hydra.sweep.record import read_saved

        if manifest.parts:
            record = read_saved(self.job.record(manifest), name="the result in the cluster")
            assert isinstance(record, RunRecord)
            self.record = record

    def _tell(self) -> int:
        """Print and write the result. What could not be written can be fetched again."""
        self._progress.hide()
        outputs, record = self._outputs, self.record
        if record is None:
            return 0
        errors = OutputErrors()
        try:
            if outputs.output is not None:
                with errors.kept():
                    write_json(Path(outputs.output), record, origin=f"--output={outputs.output}")
            if record.result is not None:
                return tell_run(record, outputs, errors, self._workload)
            write_files(record, outputs, errors, self._workload)
            errors.raise_all()
        except OutputError as error:
            hint = "the result is still in the cluster: 'hydra cli result' fetches it"
            raise OutputError(error.message, hint=f"{error.hint}; {hint}" if error.hint else hint) from error
        return record.exit_code

    def _end(self, asked: InterruptedRunError) -> None:
        """Have the run ended and cleaned up in the cluster; where its Job is not known yet, only removed."""
        if not self.job.made:
            self.remove()
            return
        self._progress.note(f"{asked}: the run in the cluster is being ended")
        self._progress.phase("cleaning up")
        try:
            self.job.stop()
            self._bring_ended()
        except OutputError as error:
            self._progress.note(f"{error.message}: {error.hint}")
            return  # it is nowhere else
        except HydraError:
            pass  # it is to end, whatever keeps its result from being fetched
        self.remove()

    def _bring_ended(self) -> None:
        """Wait until a controller that was asked to end has ended, and write what it has stored."""
        from hydra.engine.kube_refusals import KubernetesUnavailableError
        from hydra.engine.outage import Outage

        outage = Outage(self._clock, STOP_LIMIT_S, KubernetesUnavailableError)

        def ended() -> bool:
            if (state := outage.look(self.job.look, None)) is None:
                return False
            self._listener.hear(state.lines)
            return state.ended

        if poll_until(self._clock, ended, STOP_LIMIT_S, every_s=LOOK_EVERY_S) and (manifest := self.job.manifest()):
            self._fetch(manifest)
            self._tell()

    def remove(self) -> None:
        """Delete all that is of this run in the cluster, and wait until it is gone."""
        try:
            self.job.remove()
            if poll_until(self._clock, self.job.removed, REMOVE_LIMIT_S, every_s=0.5):
                return
            text = f"what the run has made is still there {REMOVE_LIMIT_S:g} s after it was deleted"
        except HydraError as error:
            text = error.message
        self._progress.note(f"not everything could be cleaned up: {text}; Kubernetes removes it within a day")
