"""The PyPI client that Hydra uses: what it sends is understood, and it understands every answer."""

import pytest
from marathon import MarathonHttpError
from marathon.exceptions import ConflictError, NotFoundError
from marathon.models import MarathonApp

pytestmark = pytest.mark.integration

STAGING_S = 0.25  # long enough to see the deployment of what has just been created


@pytest.fixture
def client(server):
    return server.client


def sleeping(**fields):
    return MarathonApp(cmd="sleep 1000", cpus=0.01, mem=32, **fields)


def test_info_and_ping(client):
    info = client.get_info()
    assert (info.name, info.elected) == ("marathon", True)
    assert tuple(int(part) for part in info.version.split(".")) > (1, 7)
    assert client.ping() == b'"pong"'


def test_a_life_of_an_app(client, server, poll):
    app = client.create_app("/g1/kafka-sub", sleeping(ports=[0], constraints=[("hostname", "CLUSTER", "127.0.0.1")]))
    assert app.id == "/g1/kafka-sub"
    (deployment,) = client.list_deployments()
    assert deployment.id == app.deployments[0].id
    assert deployment.steps[0].actions[0].action == "StartApplication"
    server.wait_settled()

    client.scale_app("/g1/kafka-sub", instances=3)
    server.wait_settled()
    assert client.get_app("/g1/kafka-sub").tasks_running == 3
    tasks = client.list_tasks("/g1/kafka-sub")
    assert len({task.ports[0] for task in tasks}) == 3
    assert {task.id for task in client.list_tasks()} == {task.id for task in tasks}
    assert len(client.list_endpoints()) == 3

    killed = client.kill_task("/g1/kafka-sub", tasks[0].id)
    assert killed.id == tasks[0].id
    poll(lambda: {task.id for task in client.list_tasks()}.isdisjoint({killed.id}) and len(client.list_tasks()) == 3)
    assert {task.id for task in client.kill_tasks("/g1/kafka-sub")} <= {task.id for task in client.list_tasks()}
    poll(lambda: client.get_app("/g1/kafka-sub").tasks_running == 3)

    client.kill_given_tasks([task.id for task in client.list_tasks("/g1/kafka-sub")[:2]], scale=True)
    server.wait_settled()
    assert client.get_group("/g1").apps[0].instances == client.list_groups()[0].apps[0].instances == 1
    result = client.delete_app("/g1/kafka-sub")
    assert result["deploymentId"] in [deployment.id for deployment in client.list_deployments()]
    with pytest.raises(NotFoundError, match="App '/g1/kafka-sub' does not exist"):
        client.get_app("/g1/kafka-sub")
    server.wait_settled()
    assert client.list_apps() == []


def test_an_app_that_was_read_can_be_written_back(client, server):
    client.create_app(
        "/x",
        sleeping(
            instances=2,
            ports=[0, 0],
            env={"A": "1"},
            labels={"owner": "me"},
            constraints=[("hostname", "LIKE", "127.*"), ("hostname", "GROUP_BY", "")],
            task_kill_grace_period_seconds=2,
            kill_selection="OLDEST_FIRST",
        ),
    )
    server.wait_settled()
    before = server.app("/x")
    app = client.get_app("/x")
    client.update_app("/x", app)
    assert client.list_deployments() == []
    assert server.app("/x") == before
    app = client.get_app("/x")
    app.env["A"] = "2"
    client.update_app("/x", app)
    server.wait_settled()
    after = server.app("/x")
    assert after["env"] == {"A": "2"}
    assert {task["id"] for task in after["tasks"]}.isdisjoint({task["id"] for task in before["tasks"]})


def test_an_app_with_every_null_that_the_client_can_send(client, server):
    assert client.create_app("/x", sleeping(), minimal=False).id == "/x"
    server.wait_settled()
    assert client.list_apps(embed_tasks=True, embed_last_task_failure=True, embed_readiness=True)[0].tasks


def test_errors_carry_the_message(client, server):
    client.create_app("/x", MarathonApp(cmd="sleep 1000", cpus=1e6))  # waits
    with pytest.raises(ConflictError, match="locked by one or more deployments"):
        client.scale_app("/x", instances=2)
    with pytest.raises(ConflictError, match="already exists"):
        client.create_app("/x", sleeping())
    with pytest.raises(NotFoundError, match="Task 'nobody' does not exist"):
        client.kill_task("/x", "nobody")
    with pytest.raises(MarathonHttpError) as caught:
        client.create_app("/y", MarathonApp(cmd="sleep 1", instances=-1))
    assert caught.value.status_code == 422
    assert caught.value.error_details[0]["path"] == "/instances"


def test_a_failure_is_readable(client, poll):
    client.create_app("/x", MarathonApp(cmd="exit 3", cpus=0.01, mem=32))
    failure = poll(lambda: client.get_app("/x").last_task_failure)
    assert failure.message == "Command exited with status 3"
    assert client.delete_app("/x", force=True)
