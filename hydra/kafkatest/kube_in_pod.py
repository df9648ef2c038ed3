"""The controller of a run, in the pod that ``--kube_controller`` has started: runs what its order says."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import hydra
from hydra.codec import DecodeError, decode, encode
from hydra.engine.kube_access import kubernetes_access
from hydra.engine.kube_controller import ControllerJob
from hydra.engine.kube_controller_objects import CONTROLLER_UID, ORDER_VARIABLE, packed
from hydra.errors import HydraError, InterruptedRunError, UsageError
from hydra.files.bounded_read import read_bounded
from hydra.kafkatest.kube_order import ControllerOrder, ToldProgress
from hydra.kafkatest.runtest import RunTestKAFKA
from hydra.run.clock import MonotonicClock

MAX_ORDER_BYTES = 1024 * 1024


def run_ordered(environment: Mapping[str, str] = os.environ) -> int:
    """Run, store the result where the one who ordered it finds it, and return the run's exit code.

    Raises:
        HydraError: the result cannot be stored, or there is no order.
    """
    order, uid = _order(environment)
    options = order.options
    access = kubernetes_access(None, options.kube_namespace, environment)
    progress = ToldProgress(lambda line: print(line, flush=True))  # noqa: T201  # the pod's log
    with contextlib.closing(ControllerJob(access, MonotonicClock(), options.app_prefix)) as job:
        job.adopt(uid)
        job.check_right("create")
        error: HydraError | InterruptedRunError | None = None
        runner = RunTestKAFKA(options, runtest=False, progress=progress, access=order.access)
        with runner:
            try:
                _check_version(order)
                runner.run_test()
            except (HydraError, InterruptedRunError) as caught:
                error = caught
            return _store(job, runner, error)


def _order(environment: Mapping[str, str]) -> tuple[ControllerOrder, str]:
    uid, file = environment.get(CONTROLLER_UID, ""), environment.get(ORDER_VARIABLE, "")
    if not uid or not file:
        raise UsageError("this is no pod of a run with --kube_controller", hint="see docs/kubernetes.md")
    try:
        return decode(read_bounded(Path(file), MAX_ORDER_BYTES), ControllerOrder), uid
    except (OSError, ValueError, DecodeError) as error:
        raise UsageError(f"the order of this run cannot be read ({error})") from error


def _check_version(order: ControllerOrder) -> None:
    if order.version != hydra.__version__:
        text = f"the image {order.options.kube_image} has Hydra {hydra.__version__}, and its command {order.version}"
        raise UsageError(text, hint="give --kube_image one of the same version")


def _store(job: ControllerJob, runner: RunTestKAFKA, error: HydraError | InterruptedRunError | None) -> int:
    """Store what is known before the clean-up, which may fail. Returns the exit code."""
    record = runner.record
    code = error.exit_code if error is not None else 0
    if error is None and record is not None and record.result is not None:
        code = record.result.exit_code
    told = ("", "") if error is None else (error.message, error.hint)
    manifest, parts = packed(None if record is None else encode(record), code, *told)
    try:
        job.store(manifest, parts)
    except InterruptedRunError:
        job.store(manifest, parts)  # what was measured must not be lost
    return code
