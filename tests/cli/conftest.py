"""The command line, called in this process; nothing is started."""

import logging
import tempfile

import pytest

from hydra.cli.main import run
from hydra.options.options import Options
from hydra.options.order import RunOrder
from hydra.run.record import RunRecord


@pytest.fixture
def call(capsys, monkeypatch, tmp_path, tmp_path_factory):
    """Run ``hydra`` with these arguments in an empty folder; gives exit code, stdout and stderr.

    It has a state folder of its own: other tests have runs under way at the same time.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = list(logging.getLogger().handlers)

    def call(*arguments):
        code = run(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    yield call
    logging.getLogger().handlers[:] = before


@pytest.fixture
def stand_in(monkeypatch):
    """A runner that runs nothing: it notes the options it was given, and ends as it was told to."""
    from hydra.kafkatest import runtest

    class StandIn:
        options: Options | None = None
        error: BaseException | None = None
        result = None

        def __init__(self, options, runtest, *, progress):
            assert runtest is False
            type(self).options = options
            self.record = None

        def __enter__(self):
            return self

        def __exit__(self, *_exception):
            return

        def run_test(self):
            if self.result is not None:
                self.record = RunRecord(
                    RunOrder("run-1", self.options),
                    "complete",
                    "2026-01-01",
                    self.result.exit_code,
                    seed_keys=self.result.seed_keys(),
                    result=self.result,
                )
            if self.error is not None:
                raise self.error

    monkeypatch.setattr(runtest, "RunTestKAFKA", StandIn)
    return StandIn
