"""Who looks into the brokers of a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.broker.process_watch import ProcessWatch
from hydra.kafkatest.local_stack import LocalStack
from hydra.kafkatest.metrics_watch import MetricsWatch
from hydra.kafkatest.running_stack import RunningStack
from hydra.options.options import Options
from hydra.run.protocols import BrokerWatch


def watches_of(options: Options, stack: LocalStack | RunningStack | None) -> Sequence[BrokerWatch]:
    """By what brokers of the user's own export, if they do; by the processes of an embedded Kafka, on Linux."""
    if options.broker_metrics is not None:
        return (MetricsWatch(options.broker_metrics.split(",")),)
    if options.bootstrap_servers is not None or stack is None or sys.platform != "linux":
        return ()
    folder, several = Path(stack.folder, "kafka"), len(stack.kafka_pids) > 1
    brokers = [
        (pid, folder / str(node_id) if several else folder, f"broker {node_id}")
        for node_id, pid in enumerate(stack.kafka_pids, 1)
    ]
    return (ProcessWatch(brokers),)
