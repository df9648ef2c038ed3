"""Which client reads what."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from hydra.options.assignments import assign

CREWS = st.tuples(st.integers(1, 8), st.integers(1, 6), st.integers(1, 20))


def assigned(crew, *, shared):
    tasks, clients_per_app, partitions = crew
    task_ids = [f"task-{number}" for number in range(tasks)]
    by_task = assign("run-1", task_ids, clients_per_app=clients_per_app, partitions=partitions, shared=shared)
    assert list(by_task) == task_ids
    assert all(len(clients) == clients_per_app for clients in by_task.values())
    return [client for clients in by_task.values() for client in clients]


@given(CREWS, st.booleans())
def test_names_are_unique_and_every_partition_is_read_from_its_start(crew, shared):
    clients = assigned(crew, shared=shared)
    assert len({client.name for client in clients}) == len(clients)
    assert all(start.offset == 0 for client in clients for start in client.starts)


@given(CREWS)
def test_own_groups_read_a_full_copy_each(crew):
    clients = assigned(crew, shared=False)
    assert len({client.group_id for client in clients}) == len(clients)
    assert all([start.partition for start in client.starts] == list(range(crew[2])) for client in clients)


@given(CREWS)
def test_a_shared_group_reads_every_partition_exactly_once(crew):
    clients = assigned(crew, shared=True)
    assert {client.group_id for client in clients} == {"run-1"}
    assert Counter(start.partition for client in clients for start in client.starts) == dict.fromkeys(range(crew[2]), 1)


@given(CREWS)
def test_a_shared_group_is_dealt_out_evenly(crew):
    loads = [len(client.starts) for client in assigned(crew, shared=True)]
    assert max(loads) - min(loads) <= 1


@given(CREWS, st.booleans())
def test_every_group_carries_the_run_id(crew, shared):
    assert all(client.group_id.startswith("run-1") for client in assigned(crew, shared=shared))


@given(CREWS, st.booleans())
def test_a_member_of_a_shared_group_is_told_no_partitions_and_one_alone_gets_all(crew, shared):
    tasks, clients_per_app, partitions = crew
    by_task = assign(
        "run-1",
        [str(number) for number in range(tasks)],
        clients_per_app=clients_per_app,
        partitions=partitions,
        shared=shared,
        members=True,
    )
    clients = [client for each in by_task.values() for client in each]
    assert len({client.group_id for client in clients}) == (1 if shared else len(clients))
    assert {len(client.starts) for client in clients} == {0 if shared else partitions}
