"""The batch API: what the notebook and the command line both use.

::

    runner = RunTestKAFKA(options, False)
    runner.start_appserver()
    result = runner.run_test()              # a dict with the seed's eleven keys; all the rest is in runner.record
    options.msg_rate, options.total_sub_apps = 3000, 5
    runner.set_options(options)
    runner.scale_sub_app()
    result = runner.run_test()
    runner.delete_all_launched_apps()
    runner.stop_appserver()
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.engine.apps import PUBLISHER, SUBSCRIBER, app_id, app_spec, own_drivers
from hydra.errors import DegradedError, HydraError, InfrastructureError, InterruptedRunError, OutputError
from hydra.files.atomic_write import check_output, write_json
from hydra.kafkatest.load import read_payload
from hydra.kafkatest.machine import machine, versions
from hydra.kafkatest.preflight import check_capacity
from hydra.options.option_checks import check_same
from hydra.options.options import Options
from hydra.options.order import make_order
from hydra.options.reader import options_from_attributes
from hydra.run.cgroups import raise_descriptor_limit
from hydra.run.protocols import Progress, SilentProgress, Task, WarmUpProgress
from hydra.run.record import RunRecord

if TYPE_CHECKING:
    from hydra.kafkatest.session import Session
    from hydra.options.kafka_access import KafkaAccess
    from hydra.run.controller import Run
    from hydra.run.warm_up import WarmUpPlan

REMOVE_TIMEOUT_S = 20.0


def new_run_id() -> str:
    """Names a run, its topic, its groups and its folder; sorts by time."""
    return f"hydra-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


class RunTestKAFKA:
    """Runs of the Kafka scaling test on one stack.

    Nothing is started before ``start_appserver`` (or the first call that needs it). Ends with ``stop_appserver``, with
    the ``with`` block, or with this process, whichever comes first.

    Args:
        options: an ``Options``, or any object whose attributes are options, such as the notebook's class. It is read
            when the stack starts, and at each ``set_options``.
        runtest: True runs one test at once, from start to stop; its record is in ``record`` afterwards.
        progress: shows what happens; nothing is shown without it.
        access: how Kafka lets its clients in, where the options' own files are not here.

    Raises:
        UsageError: for an option that cannot be.
    """

    def __init__(
        self,
        options: object,
        runtest: bool = True,  # noqa: FBT001, FBT002  # the seed's signature
        *,
        progress: Progress | None = None,
        access: KafkaAccess | None = None,
    ) -> None:
        self._source = options
        self._options = _snapshot(options)
        self._progress: Progress = progress or SilentProgress()
        self._access = access
        self._session: Session | None = None
        self._own_drivers: dict[str, str] = {}
        """By role, the user's own driver that the tasks were launched with."""
        self._tasks: dict[str, tuple[Task, ...]] = {}
        """By role."""
        self.record: RunRecord | None = None
        """Everything that is known of the latest run."""
        if runtest:
            with self:
                self.run_test()

    def __enter__(self) -> RunTestKAFKA:  # noqa: PYI034  # typing has Self from 3.11 on
        return self

    def __exit__(self, *_error: object) -> None:
        """End what was started. What came of the block stands: an error of the clean-up is a note."""
        try:
            self.stop_appserver()
        except (HydraError, OSError) as error:
            self._progress.note(f"not everything could be cleaned up: {error}")

    @property
    def options(self) -> Options:
        """The options of the next run."""
        return self._options

    def set_options(self, options: object) -> None:
        """Read the options of the next run.

        Raises:
            UsageError: for an option that cannot be, or one that the running stack cannot follow.
        """
        new = _snapshot(options)
        if self._session is not None:
            check_same(self._session.options, new)
            check_capacity(new, present=self._options)
        self._source, self._options = options, new

    def start_appserver(self) -> None:
        """Bring the stack up (or find it up) and have all tasks answer; harmless when that is so already.

        Raises:
            HydraError: with everything that had been started taken down again.
        """
        if self._session is not None:
            return
        from hydra.kafkatest.session import Session

        self._options = _snapshot(self._source)
        raise_descriptor_limit()
        check_capacity(self._options)
        if self._options.output is not None:
            check_output(self._options.output, "output")
        self._progress.phase("starting")
        try:
            self._session = Session(self._options, new_run_id(), self._progress, self._access).open()
            self._deploy()
            self._session.connect_kafka()
        except BaseException as error:
            # Whatever was noticed first: where the stack says why it went down, that is what happened.
            cause = None
            if self._session is not None and isinstance(error, (InfrastructureError, DegradedError)):
                cause = self._session.failure()
            with contextlib.suppress(HydraError):  # of undoing: the failure itself is what the caller hears of
                self.stop_appserver()
            if cause is not None:
                raise cause from error
            raise

    def scale_sub_app(self) -> None:
        """Have as many subscriber tasks as the options ask for; all of them answer afterwards.

        Raises:
            HydraError: when they do not get there in time.
        """
        if self._session is None:
            self.start_appserver()
            return
        self._deploy()

    def run_test(self) -> dict[str, int | float]:
        """One run. Returns the seed's eleven keys (accounting/result.py, ``Result.seed_keys``).

        Starts the stack and scales the subscribers first where that has not been done. The record of the run is in
        ``record``, and in the file that ``output`` names, also when the run fails.

        Raises:
            HydraError: when there is no result.
        """
        self.start_appserver()
        assert self._session is not None
        phases_s: dict[str, float] = {}
        if (plan := self._session.warm_up_plan(self._options)) is not None:
            phases_s["warmup"] = self._warm_up(plan)
        run = self._run(self._options, self._progress, self._session.machine_speed)
        record = run.measure()
        self._session.end_run(run)
        if run.error is None:
            self._session.ran()
        self._keep_record(dataclasses.replace(record, phases_s={**phases_s, **record.phases_s}), run.error)
        if run.error is not None:
            raise run.error
        return dict(record.seed_keys)

    def _warm_up(self, plan: WarmUpPlan) -> float:
        """Have the broker carry the load of the next run. Returns how long that took, in seconds."""
        assert self._session is not None
        from hydra.run.warm_up import WARM_UP_SPEED, Warmth, measured_speed

        warmth = Warmth()
        how_long = f"until the broker is warm, at most {plan.max_s:g} s" if plan.until_warm else f"{plan.max_s:g} s"
        self._progress.phase("warming up", f"{how_long} of the same records, not counted")
        options = dataclasses.replace(self._options, test_duration=plan.max_s)
        warm_up = self._run(options, WarmUpProgress(self._progress), WARM_UP_SPEED)
        record = warm_up.warm_up(warmth, until_warm=plan.until_warm)
        self._session.end_run(warm_up)
        if warm_up.error is not None:
            order = dataclasses.replace(record.order, options=self._options)
            self._keep_record(dataclasses.replace(record, order=order), warm_up.error)
            raise warm_up.error
        speed = measured_speed(warm_up.order, warmth, record.evidence.cores)
        self._session.ran(speed)
        took_s = record.phases_s["warmup"]
        if costs := str(warmth):
            paced = f"; the fetch pace is {1 / speed:g} times the usual one" if speed not in {None, 1.0} else ""
            self._progress.note(f"the warm-up took {took_s:.1f} s: {costs}{paced}")
        return took_s

    def _run(self, options: Options, progress: Progress, machine_speed: float) -> Run:
        """A run of the tasks that are there; first there are as many as the options ask for."""
        assert self._session is not None
        from hydra.run.controller import Run

        topic = self._session.topic_there(options)
        as_many = len(self._tasks.get(SUBSCRIBER, ())) == options.total_sub_apps
        if not as_many or own_drivers(options) != self._own_drivers or not self._tasks_present():
            self._deploy()
        publisher, subscribers = self._tasks[PUBLISHER][0], self._tasks[SUBSCRIBER]
        context = self._session.context(options, progress)
        order = make_order(
            new_run_id(),
            options,
            topic=topic,
            bootstrap_servers=self._session.bootstrap_servers,
            task_ids=[task.task_id for task in subscribers],
            cores=context.host.cores,
            machine_speed=machine_speed,
        )
        order = dataclasses.replace(order, payload=read_payload(options))
        self._session.begin_run(order)
        return Run(order, publisher, subscribers, context)

    def delete_all_launched_apps(self) -> None:
        """Remove both apps and wait until the last of their tasks is gone; harmless when there are none."""
        if self._session is None:
            return
        self._progress.phase("cleaning up")
        self._tasks = {}
        self._session.deployment.remove(
            [app_id(self._options, role) for role in (PUBLISHER, SUBSCRIBER)], REMOVE_TIMEOUT_S
        )

    def stop_appserver(self) -> None:
        """End what was started; with ``keep_running`` leave it up. Harmless the second time."""
        if self._session is None:
            return
        keep = self._options.keep_running
        try:
            # With a local stack that has ended, all that it had started is gone.
            if not keep and self._session.failure(wait_s=0) is None:
                try:
                    self.delete_all_launched_apps()
                except InterruptedRunError:
                    self.delete_all_launched_apps()  # the apps must not stay; who asks again ends this at once
                    raise
                except (HydraError, OSError):
                    self._session.apps_are_left()
                    raise
        finally:
            session, self._session = self._session, None
            self._tasks = {}
            session.close(keep=keep)

    def _deploy(self) -> None:
        """Publisher and one subscriber first, which shows what is wrong once and not a hundred times; then the rest."""
        assert self._session is not None
        if self._tasks and own_drivers(self._options) != self._own_drivers:
            self.delete_all_launched_apps()  # tasks do not change their driver
        self._own_drivers = own_drivers(self._options)
        deployment, options = self._session.deployment, self._options
        placement = self._session.placement
        present = {role: self._session.launcher.tasks(app_id(options, role)) for role in (PUBLISHER, SUBSCRIBER)}
        deaf = {role: deployment.deaf(app_id(options, role), tasks) for role, tasks in present.items()}
        first = max(1, min(len(present[SUBSCRIBER]), options.total_sub_apps))
        stages = [{PUBLISHER: 1, SUBSCRIBER: first}]
        if first != options.total_sub_apps:
            stages.append({SUBSCRIBER: options.total_sub_apps})
        for stage in stages:
            specs = {role: app_spec(options, role, instances, placement) for role, instances in stage.items()}
            for role, spec in specs.items():
                deployment.apply(spec)  # refuses an app of somebody else
                if silent := len(deaf.pop(role, ())):
                    told = f"{silent} of {len(present[role])} tasks of {spec.app_id} run and do not answer"
                    self._progress.note(f"{told}: the app is started anew")
                    deployment.remove([spec.app_id], REMOVE_TIMEOUT_S)
                    deployment.apply(spec)
            for role, spec in specs.items():
                self._tasks[role] = deployment.wait_ready(spec.app_id, spec.instances, options.start_deadline_s)

    def _tasks_present(self) -> bool:
        """Whether the tasks are those that run, and answer: Marathon replaces one that died between two runs."""
        assert self._session is not None
        for role, tasks in self._tasks.items():
            app = app_id(self._options, role)
            now = self._session.launcher.tasks(app)
            if {task.task_id for task in now if task.running} != {task.task_id for task in tasks}:
                return False
            if self._session.deployment.deaf(app, tasks):
                return False
        return True

    def _keep_record(self, record: RunRecord, error: BaseException | None) -> None:
        """Keep what is known of the run, with where it was made, and write it to ``output``.

        Raises:
            OutputError: it cannot be written; where the run failed, that is what the caller hears of.
        """
        assert self._session is not None
        self.record = dataclasses.replace(
            record, versions=versions(), machine=machine(), cluster=self._session.cluster()
        )
        if (path := self._options.output) is None:
            return
        try:
            write_json(Path(path), self.record, origin=f"--output={path}")
        except OutputError:
            if error is None:
                raise


def _snapshot(options: object) -> Options:
    read = options if isinstance(options, Options) else options_from_attributes(options)
    return dataclasses.replace(read, pub_driver=_absolute(read.pub_driver), sub_driver=_absolute(read.sub_driver))


def _absolute(driver: str) -> str:
    """A driver by the path of its file, for tasks in other working folders."""
    file, colon, name = driver.rpartition(":")
    return f"{Path(file).absolute()}:{name}" if colon and file.endswith(".py") else driver
