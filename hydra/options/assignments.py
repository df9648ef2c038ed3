"""Which client reads what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hydra.options.order import ClientAssignment, PartitionStart


def assign(
    run_id: str, task_ids: Sequence[str], *, clients_per_app: int, partitions: int, shared: bool, members: bool = False
) -> Mapping[str, tuple[ClientAssignment, ...]]:
    """Every client of a run, by the task that hosts it, with its group and its partitions.

    Args:
        run_id: begins every group's name.
        task_ids: the subscriber tasks.
        clients_per_app: how many clients each of them hosts.
        partitions: partitions of the topic; a run's topic is fresh, so that each is read from offset 0.
        shared: all clients are one group and the partitions are dealt out among them in turn (with more clients than
            partitions some read nothing); otherwise each client is a group of its own and reads every partition.
        members: the clients join their groups. What a member of a shared group reads is then the group's to say, and
            it stands here with no partition; one that is alone in its group gets all of them.
    """
    client_count = len(task_ids) * clients_per_app
    assigned: dict[str, tuple[ClientAssignment, ...]] = {}
    for task_number, task_id in enumerate(task_ids):
        clients = []
        for client_number in range(clients_per_app):
            place = task_number * clients_per_app + client_number
            name = f"sub-{task_number}-client-{client_number}"
            read = range(partitions)
            if shared:
                read = range(0) if members else range(place, partitions, client_count)
            clients.append(
                ClientAssignment(
                    name=name,
                    group_id=run_id if shared else f"{run_id}-{name}",
                    starts=tuple(PartitionStart(partition, 0) for partition in read),
                )
            )
        assigned[task_id] = tuple(clients)
    return assigned
