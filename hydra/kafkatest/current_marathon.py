"""The Marathon that a command is about: the one that the options name, or that of the running local stack."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hydra.engine.marathon_access import given_access, local_access
from hydra.engine.marathon_launcher import MarathonLauncher
from hydra.errors import UsageError
from hydra.kafkatest import running_stack
from hydra.options.options import Options


@contextlib.contextmanager
def current_marathon(options: Options) -> Iterator[MarathonLauncher]:
    """A launcher on it, closed at the end.

    Raises:
        UsageError: the options name no Marathon, and no local stack is up; or its secrets cannot be used.
    """
    if options.marathon_url is not None:
        access = given_access(options)
    elif (running := running_stack.find()) is not None:
        access = local_access(running.marathon_url)
    else:
        raise UsageError(
            "no Marathon is named, and no local stack is up", hint="give --marathon_url, or 'hydra local up'"
        )
    with contextlib.closing(MarathonLauncher(access, mesos_url=options.mesos_url)) as launcher:
        yield launcher
