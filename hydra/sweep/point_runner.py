"""Runs of a sweep on one stack: it starts once and is scaled between points, and anew after it broke."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timezone
from types import TracebackType

from hydra.errors import CapacityError, HydraError, InfrastructureError, InterruptedRunError, UsageError
from hydra.kafkatest import runtest
from hydra.kafkatest.machine import machine, versions
from hydra.options.options import Options
from hydra.options.order import RunOrder
from hydra.run.progress import Progress
from hydra.run.record import RunRecord, failed_record


class StackRunner:
    """A ``PointRunner`` on RunTestKAFKA.

    Args:
        progress: shows what happens.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._runner: runtest.RunTestKAFKA | None = None

    def __enter__(self) -> StackRunner:  # noqa: PYI034  # typing has Self from 3.11 on
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def measure(self, options: Options) -> RunRecord:
        """One run with these options; the stack stays up for the next one, unless it is what failed.

        Raises:
            UsageError: the options cannot be. More clients than this machine holds are a record, though: a search for
                how many it holds ends there.
            InterruptedRunError: Ctrl-C or SIGTERM.
        """
        started_at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        try:
            if self._runner is None:
                self._runner = runtest.RunTestKAFKA(options, runtest=False, progress=self._progress)
            else:
                self._runner.record = None
                self._runner.set_options(options)
                self._runner.scale_sub_app()
            self._runner.run_test()
            record = self._runner.record
        except InterruptedRunError:
            raise
        except HydraError as error:
            if isinstance(error, UsageError) and not isinstance(error, CapacityError):
                raise
            record = self._runner.record if self._runner is not None else None
            if record is None:
                record = failed_record(RunOrder("", options), started_at, error)
                record = dataclasses.replace(record, versions=versions(), machine=machine())
            if isinstance(error, InfrastructureError):
                self.close()
        assert record is not None
        return record

    def close(self) -> None:
        """End the stack; harmless the second time."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.stop_appserver()
