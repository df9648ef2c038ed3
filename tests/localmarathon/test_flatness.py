"""Many apps and many tasks: nothing grows, no port is handed out twice, nothing is left."""

import gc
import os
import threading
import time

import psutil
import pytest
import requests

from hydra.options.parsers import AgentSpec

pytestmark = pytest.mark.integration

CYCLES = 300
TASKS = 300
HOSTS = ("127.0.0.1", "127.0.0.2")


POOL_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""Of asyncio's pool for what blocks, at most (concurrent.futures.ThreadPoolExecutor). It has as many as were ever
wanted at once, and a busy machine wants several while it removes sandboxes."""


def footprint(process):
    gc.collect()
    names = [thread.name for thread in threading.enumerate()]
    pool = sum(name.startswith("asyncio_") for name in names)
    return len(gc.get_objects()), len(names) - pool, pool, process.num_fds()


@pytest.mark.release
def test_hundreds_of_cycles_leave_nothing_behind(start_marathon, poll):
    server = start_marathon(staging_s=0)
    process = psutil.Process()
    objects = threads = files = 0

    def cycle(number):
        # Tasks of one app in ten, so that both kinds of bookkeeping go round.
        app_id, instances = f"/c/x{number % 20}", int(number % 10 == 0)
        poll(lambda: all(app_id not in deployment["affectedApps"] for deployment in server.deployments()))
        server.create(app_id, cmd="exec sleep 1000", instances=instances, cpus=0.1, mem=16)
        server.call("DELETE", f"/v2/apps{app_id}")

    for number in range(CYCLES):
        cycle(number)
        if number == CYCLES // 5:
            objects, threads, _pool, files = footprint(process)
    server.wait_settled()
    objects_after, threads_after, pool_after, files_after = footprint(process)
    scheduler = server.server._scheduler
    assert (scheduler.apps, scheduler._removing, scheduler._app_of_task) == ({}, [], {})
    assert server.census() == []
    assert threads_after <= threads
    assert pool_after <= POOL_THREADS
    assert files_after <= files + 5
    # Nothing of an app is kept, not even one object for each.
    assert objects_after - objects < CYCLES / 2


@pytest.mark.release
def test_hundreds_of_tasks_start_are_listed_and_gone(start_marathon, poll):
    server = start_marathon(agents=[AgentSpec(host) for host in HOSTS])
    begun_s = time.monotonic()
    server.create("/many", cmd="exec sleep 1000", instances=TASKS, ports=[0], cpus=0.1, mem=16)
    seen = set()
    twice = []

    def is_done():
        # Requests are answered while the tasks start, and no port is on two tasks at any moment.
        assert requests.get(f"{server.url}/ping", timeout=30).text == "pong"
        ports = [port for task in server.tasks("/many") for port in task["ports"]]
        twice.extend(port for port in ports if ports.count(port) > 1)
        seen.update(ports)
        return not server.deployments()

    poll(is_done, 30)
    started_s = time.monotonic()
    tasks = server.tasks("/many")
    assert len({task["id"] for task in tasks}) == len({task["ports"][0] for task in tasks}) == TASKS
    assert {task["host"] for task in tasks} == set(HOSTS)
    assert (twice, len(seen)) == ([], TASKS)
    assert len(server.census()) == TASKS
    server.call("DELETE", "/v2/apps/many")
    poll(lambda: not server.deployments(), 30)
    ended_s = time.monotonic()
    assert server.census() == []
    print(f"{TASKS} tasks: up after {started_s - begun_s:.1f} s, gone after {ended_s - started_s:.1f} s")
