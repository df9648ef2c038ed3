"""How often clients fetch: the pace between their fetch rounds, and who keeps none.

What a fetch brings matters little to what it costs, so what a machine carries is a number of fetches a second.
"""

from __future__ import annotations

import math

from hydra.options.options import SELF_PACED_DRIVERS, Options

FETCHES_PER_S_AND_CORE = 4_000
"""Fetch requests a second for each core that a hundred subscriber tasks and the broker share.

Measured on two cores with 1,000 clients: at 15,000/s in all the publisher's acks come 10 s late, since its requests
queue behind the fetches; at 8,000/s they keep up.
"""

LARGE_APP_CLIENTS = 100
FETCHES_PER_S_AND_CORE_LARGE_APPS = 10_000
"""The same where apps have ``LARGE_APP_CLIENTS`` or more: a task wakes once for all of its clients' fetches.

Measured on two cores with one task of 500 clients x 3,000/s: at 8,000/s in all e2e p99 was 93 ms, at 15,000/s 54 ms, at
20,000/s 49 ms, for 0.31 us of CPU a delivery instead of 0.27.
"""

MANY_CLIENTS = 1_000
FETCHES_PER_S_AND_CORE_MANY_CLIENTS = 9_000
"""The same for more than ``MANY_CLIENTS`` in large apps: at 10 million deliveries a second bytes need the cores, too.

Measured on two cores with 10,000 clients x 1,000/s: at 8,000/s in all e2e p99 was 1.35 s, at 12,000/s 1.09 s, at
15,000/s 0.86 to 1.07 s; from 20,000/s on it depends on what else the machine does.
"""

FETCHING_CORES = 0.55
"""The share of the cores that fetches may take, of the broker and the subscriber tasks: the rest is for the publisher,
for bytes, and for what comes together. The three figures above are of machines on which it is half to six tenths."""

SPARSE_FETCH_COST = 1.5
"""A fetch of the warm-up costs so much more: what broker and tasks do anyway is divided by a quarter of the fetches.

Measured on a warm broker with 500 clients x 3,000/s and 1,000 x 1,000/s in apps of 10, 500 x 3,000/s in one app and
5,000 x 2,000/s in ten: at a quarter of the usual fetches a fetch cost 413, 380, 129 and 173 us, at twice as many 227,
243, 104 and 107 to 179. The shortest safe pace was twice the usual one in all four."""

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""How fast a machine may count as, beside those. In powers of two: two runs on one kind of machine shall have the same
pace, and what is measured varies by a third."""

PACE_THAT_MATTERS_MS = 5.0
UNPACED_OF, MIN_UNPACED, UNPACED_FETCHES_SHARE = 50, 2, 0.05
"""See ``unpaced_readers``."""


def fetch_pace_ms(options: Options, cores: float, machine_speed: float = 1.0) -> float:
    """The least time between two fetch rounds of a client.

    What ``--fetch_pace_ms`` says; otherwise, where all tasks and Kafka share one machine, what keeps all clients
    together at a number of fetches that the cores which Hydra may use carry, at the machine's speed. 0 where they do
    not share one (nothing is known then of what their machines carry), and for a driver that fetches when it likes.
    """
    if options.sub_driver in SELF_PACED_DRIVERS:
        return 0.0
    if options.fetch_pace_ms is not None:
        return options.fetch_pace_ms
    if not on_one_machine(options):
        return 0.0
    carried = _fetches_per_s_and_core(options) * (cores or 1) * machine_speed
    return round(1000 * options.client_count / carried, 3)


def machine_speed(options: Options, fetch_cost_us: float) -> float:
    """How fast a machine counts as on which a fetch of the warm-up costs so much CPU time: one of ``SPEEDS``."""
    usual_cost_us = SPARSE_FETCH_COST * FETCHING_CORES * 1e6 / _fetches_per_s_and_core(options)
    ratio = usual_cost_us / max(1.0, fetch_cost_us)
    return min(SPEEDS, key=lambda speed: abs(math.log2(ratio / speed)))


def _fetches_per_s_and_core(options: Options) -> int:
    if options.clients_per_app < LARGE_APP_CLIENTS:
        return FETCHES_PER_S_AND_CORE
    many = options.client_count > MANY_CLIENTS
    return FETCHES_PER_S_AND_CORE_MANY_CLIENTS if many else FETCHES_PER_S_AND_CORE_LARGE_APPS


def unpaced_readers(options: Options, pace_ms: float, count: int) -> range:
    """The numbers of those of ``count`` clients that keep no pace, so that what the pace adds to a latency is measured.

    One of fifty, two at least, spread over the apps. Each fetches after every append, so no more of them than cause a
    twentieth of the fetches of all others. None where the pace is too short to matter, where clients are so few that
    two are not a sample but the load, in a shared group, where a client is not like another, and with a driver of the
    user's own, of which nobody knows what it does.
    """
    if (
        options.sub_driver != "wire"
        or pace_ms < PACE_THAT_MATTERS_MS
        or count < UNPACED_OF
        or options.group == "shared"
    ):
        return range(0)
    batch_records = max(1, options.batch_size_bytes // options.msg_size)
    appends_per_s = max(options.msg_rate / batch_records, min(options.msg_rate, 1000 / max(1.0, options.linger_ms)))
    affordable = UNPACED_FETCHES_SHARE * count * 1000 / pace_ms / appends_per_s
    readers = max(MIN_UNPACED, int(min(count / UNPACED_OF, affordable)))
    return range(0, count, -(-count // readers))


def on_one_machine(options: Options) -> bool:
    """Whether all tasks and Kafka run on the controller's machine: a local Marathon, and a Kafka on loopback."""
    if options.tasks_elsewhere:
        return False
    servers = (options.bootstrap_servers or "localhost").split(",")
    return all(server.startswith(("localhost", "127.", "[::1]")) for server in servers)
