"""The launcher against a server that does as Marathon does, and one that misbehaves on purpose."""

import base64
import dataclasses
import ssl
import threading

import pytest
import trustme

from hydra.endpoints import Endpoint
from hydra.engine.marathon_access import MarathonAccess
from hydra.engine.marathon_launcher import CALL_LIMIT_S, CHECK_LIMIT_S, EXPLAIN_LIMIT_S, MarathonLauncher
from hydra.errors import AppLockedError, InfrastructureError, MarathonError, UsageError
from hydra.run.deployment import Deployment
from hydra.run.protocols import AppSpec
from hydra.signals.keys import SignalKeys, new_key_pair
from hydra.signals.zmq_signals import ZmqSignals

APP = "/g1/kafka-sub"
VERSION = "2020-01-01T00:00:00.000Z"


def spec(instances=1, **fields):
    return AppSpec(app_id=APP, command="exec hydra task kafka-sub", instances=instances, **fields)


@pytest.fixture
def launch(monkeypatch, clock):
    """Makes launchers for a server, or several addresses; without secrets where none are named."""
    monkeypatch.setenv("NO_PROXY", "*")
    made = []

    def make(*servers, **access):
        urls = tuple(server if isinstance(server, str) else server.url for server in servers)
        made.append(MarathonLauncher(MarathonAccess(urls, **access), clock=clock))
        return made[-1]

    yield make
    for launcher in made:
        launcher.close()


@pytest.fixture
def launcher(launch, server):
    return launch(server)


# What is asked for, and what is sent


def test_an_app_is_created_scaled_and_changed(launcher, server):
    launcher.apply(spec(1))
    assert server.creations == {APP: 1}
    server.deployments.clear()
    launcher.apply(spec(1))
    assert [entry for entry in server.requests if entry[0] == "PUT"] == []
    launcher.apply(spec(7))
    assert server.apps[APP]["instances"] == 7
    server.deployments.clear()
    launcher.apply(spec(7, env={"A": "1"}, constraints=(("hostname", "UNIQUE"),)))
    assert (server.apps[APP]["env"], server.apps[APP]["constraints"]) == ({"A": "1"}, [["hostname", "UNIQUE"]])
    server.deployments.clear()
    launcher.apply(spec(7))
    assert "constraints" not in server.apps[APP], "what the new wish does not have is gone"
    assert all("force=true" not in query for _method, _path, query in server.requests)


def test_answers_with_fields_that_nobody_knows_yet_are_read(launcher, server):
    assert launcher.facts().version == "1.11.24"
    launcher.apply(spec(2))
    server.tasks[APP] = [
        {"id": "a", "appId": APP, "host": "h", "slaveId": "S0", "state": "TASK_RUNNING", "ports": [31000],
         "ipAddresses": [{"ipAddress": "10.0.0.7", "protocol": "IPv4"}], "checkResult": {"command": {"exitCode": 0}}},
        {"id": "b", "appId": APP, "host": "h", "state": "TASK_STAGING", "ports": None, "ipAddresses": None},
    ]  # fmt: skip
    first, second = launcher.tasks(APP)
    assert (first.task_id, first.running, first.endpoint) == ("a", True, Endpoint("10.0.0.7", 31000))
    assert (second.task_id, second.running, second.endpoint) == ("b", False, None)
    assert [(app.id, app.instances) for app in launcher.apps()] == [(APP, 2)]


@pytest.mark.parametrize(
    ("host", "addresses", "used"),
    [
        ("node7", ["10.0.0.7"], "10.0.0.7"),
        ("node7", ["127.0.1.1"], "node7"),
        ("127.0.0.2", ["127.0.0.2"], "127.0.0.2"),
        ("node7", ["0.0.0.0", "fd00::7"], "fd00::7"),
        ("node7", ["nonsense"], "node7"),
        ("node7", [], "node7"),
    ],
)
def test_a_task_is_reached_at_its_own_address_or_its_agents_name(launcher, server, host, addresses, used):
    launcher.apply(spec())
    listed = [{"ipAddress": address} for address in addresses]
    server.tasks[APP] = [{"id": "a", "host": host, "state": "TASK_RUNNING", "ports": [1], "ipAddresses": listed}]
    (task,) = launcher.tasks(APP)
    assert task.endpoint == Endpoint(used, 1)


def test_an_app_is_gone_when_its_deployment_is(launcher, server):
    launcher.apply(spec())
    server.deployments.clear()
    launcher.remove(APP)
    assert APP not in server.apps
    assert not launcher.removed(APP), "it is 404 already, and its tasks still die"
    # Another Marathon may tell the deployment without the apps that it is for.
    server.deployments[0]["affectedApps"] = []
    assert not launcher.removed(APP)
    server.deployments.clear()
    assert launcher.removed(APP)
    launcher.remove(APP)
    assert launcher.removed(APP)


def test_a_group_is_deleted_in_one_call(launcher, server):
    launcher.apply(spec())
    server.requests.clear()
    deployment = launcher.delete_group("/g1", force=False)
    assert [(method, path) for method, path, _query in server.requests] == [("DELETE", "/v2/groups/g1")]
    assert server.apps == {}
    assert deployment in [item.id for item in launcher.deployments()]


def test_tasks_of_an_app_that_is_not_there_are_none(launcher):
    assert launcher.tasks(APP) == ()


# Why tasks are not there


def queued(**fields):
    return {
        "count": 2,
        "role": "*",
        "app": {"id": APP, "cmd": "x"},
        "delay": {"timeLeftSeconds": 0, "overdue": True},
    } | fields


def test_a_task_that_stays_staged_is_explained_by_the_queue(launcher, server):
    launcher.apply(spec(2))
    reasons = [
        {"reason": "UnfulfilledConstraint", "declined": 3, "processed": 3},
        {"reason": "InsufficientCpus", "declined": 0, "processed": 3},
        {"reason": "InsufficientMemory", "declined": 1, "processed": 3},
    ]
    server.queue = [queued(processedOffersSummary={"rejectSummaryLastOffers": reasons})]
    trouble = launcher.waiting_reason(APP)
    assert trouble.unplaced
    assert trouble.text == (
        "2 wait in Marathon's queue, offers were declined for"
        " UnfulfilledConstraint (3 of 3), InsufficientMemory (1 of 3)"
    )


def test_a_queue_without_offers_says_so(launcher, server):
    launcher.apply(spec(2))
    server.queue = [queued(app={"id": "/other"}), queued(), {"count": 1}]
    trouble = launcher.waiting_reason(APP)
    assert (trouble.unplaced, trouble.text) == (True, "2 wait in Marathon's queue for an offer of an agent")


def test_a_task_that_hangs_in_its_fetch_is_unplaced(launcher, server):
    launcher.apply(spec(1))
    server.tasks[APP] = [{"id": "a", "state": "TASK_STAGING"}]
    trouble = launcher.waiting_reason(APP)
    assert (trouble.unplaced, trouble.text) == (True, "1 tasks are staged and do not start to run")


def test_a_failure_is_told_with_the_last_lines_of_the_sandbox(launch, server):
    launcher = launch(server, local=True)
    launcher.apply(spec(1))
    failure = {"state": "TASK_FAILED", "message": "Command exited with status 1", "taskId": "t.1", "slaveId": "S0"}
    server.apps[APP]["lastTaskFailure"] = failure
    told = "one\ntwo\nhydra: hydra.pyz is not what the controller served\n"
    executor = {"id": "t.1", "directory": "/sandbox/t.1"}
    server.pages = {
        "/slaves": {"slaves": [{"id": "S0", "hostname": "h", "pid": f"slave(1)@{server.url.partition('//')[2]}"}]},
        "/state": {"frameworks": [{"completed_executors": [executor]}]},
        "/files/read": {"data": told, "offset": len(told)},
    }
    trouble = launcher.waiting_reason(APP)
    assert not trouble.unplaced
    assert trouble.text == (
        "TASK_FAILED: Command exited with status 1, its last lines: one | two |"
        " hydra: hydra.pyz is not what the controller served"
    )
    asked = len(server.requests)
    launcher.waiting_reason(APP)
    assert not [path for _method, path, _query in server.requests[asked:] if path == "/files/read"], "asked for once"


def test_without_a_queue_the_failure_is_told_all_the_same(launcher, server, plays):
    launcher.apply(spec(1))
    server.apps[APP]["lastTaskFailure"] = {"state": "TASK_FAILED", "message": "Command exited with status 3"}
    missing = plays.refuse(500, {"message": "URI not found"})
    planned = server.misbehave(
        lambda regular, handler: missing(regular, handler) if "queue" in handler.path else regular(),
        times=2,
    )
    assert launcher.waiting_reason(APP).text == "TASK_FAILED: Command exited with status 3"
    assert planned.happened == 2
    assert sum(1 for _method, path, _query in server.requests if path == "/v2/queue") == 1, "not asked in vain again"


def test_a_task_that_crashes_is_no_matter_of_place(launcher, server):
    launcher.apply(spec(1))
    server.apps[APP]["lastTaskFailure"] = {"state": "TASK_FAILED", "message": "Command exited with status 3"}
    server.queue = [queued(delay={"timeLeftSeconds": 4, "overdue": False})]
    trouble = launcher.waiting_reason(APP)
    assert (trouble.unplaced, trouble.text) == (False, "TASK_FAILED: Command exited with status 3")


# A server that misbehaves


def test_three_500s_are_overcome_and_there_is_one_app(launcher, server, plays):
    planned = server.misbehave(plays.refuse(500, {"message": "no quorum"}), times=3)
    launcher.apply(spec(3))
    assert planned.happened == 3
    assert server.creations == {APP: 1}
    assert list(server.apps) == [APP]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_lost_answer_and_a_gateways_page_make_no_second_app(launcher, server, plays, status):
    launcher.facts()
    page = server.misbehave(plays.refuse(status, b"<html>", content_type="application/json"))
    launcher.tasks(APP)

    # The request that creates the app is carried out, and its answer lost.
    def lose_the_creation(regular, handler):
        if handler.command == "POST":
            return plays.lose(regular, handler)
        return regular()

    lost = server.misbehave(lose_the_creation, times=3)
    launcher.apply(spec(2))
    assert (page.happened, lost.happened) == (1, 3)
    assert server.creations == {APP: 1}
    assert server.apps[APP]["instances"] == 2


def test_a_server_that_never_answers_is_given_up_in_time(launch, server, plays, clock):
    planned = server.misbehave(plays.hang, times=100)
    launcher = launch(server, timeout_s=0.1)
    with pytest.raises(MarathonError, match=r"cannot be reached \(no response within [0-9.]+ s\)") as caught:
        launcher.facts()
    assert 3 <= clock.now_s() <= CHECK_LIMIT_S
    assert planned.happened >= 3
    assert caught.value.exit_code == 4
    asked, gave_up_s = planned.happened, clock.now_s()
    with pytest.raises(MarathonError):
        launcher.remove(APP)
    assert (planned.happened, clock.now_s()) == (asked + 1, gave_up_s), "no retries right after it was given up"


@pytest.mark.parametrize("play", ["drip", "drip_head"])
def test_an_answer_by_the_drop_is_given_up_in_time(launch, server, plays, play):
    planned = server.misbehave(getattr(plays, play), times=100)
    launcher = launch(server, timeout_s=0.1)
    with pytest.raises(MarathonError, match="no response within"):
        launcher.facts()
    assert planned.happened >= 2


@pytest.mark.parametrize(
    "garbage",
    [
        b"", b"<html>busy</html>", b"null", b"[]", b"{}", b'{"version": []}', b"\xff\xfe\x00", b"[" * 100_000,
        b'{"version": "1.11", ', b'"1.11"',
    ],
    ids=lambda garbage: repr(garbage[:12]),
)  # fmt: skip
def test_garbage_is_told_at_once(launcher, server, plays, garbage):
    planned = server.misbehave(plays.refuse(200, garbage))
    with pytest.raises(MarathonError, match="unexpected response from Marathon") as caught:
        launcher.facts()
    assert (planned.happened, len(server.requests), caught.value.exit_code) == (1, 1, 4)


def test_no_http_at_all_is_given_up(launch):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = []

        def talk():
            while True:
                try:
                    connection, _address = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"220 ready\r\n")
                    taken.append(1)

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            with pytest.raises(MarathonError, match="cannot be reached"):
                launch(f"http://127.0.0.1:{listener.getsockname()[1]}").facts()
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
    assert taken


def test_401_is_told_at_once_with_the_way_out(launcher, server, plays):
    planned = server.misbehave(plays.refuse(401, b"", content_type="text/html"), times=9)
    with pytest.raises(MarathonError, match=r"authentication required \(HTTP 401\).*--marathon_secrets") as caught:
        launcher.facts()
    assert (planned.happened, caught.value.exit_code, caught.value.status) == (1, 4, 401)


def test_a_redirection_is_not_followed(launch, server, scripted, plays):
    elsewhere = scripted()
    server.misbehave(plays.refuse(302, b"", headers=[("Location", elsewhere.url + "/v2/info")]))
    with pytest.raises(MarathonError, match="redirects to http"):
        launch(server, user="me", password="secret").facts()
    assert elsewhere.requests == []


def test_a_lock_is_told_by_its_deployment_and_never_forced(launcher, server):
    launcher.apply(spec(1))
    server.deployments[:] = [{"id": "someone-elses", "affectedApps": [APP]}]
    for wish in (lambda: launcher.apply(spec(5)), lambda: launcher.remove(APP)):
        with pytest.raises(AppLockedError, match="locked by deployment someone-elses") as caught:
            wish()
        assert (caught.value.retryable, caught.value.exit_code) == (True, 4)
        assert caught.value.deployment_ids == ("someone-elses",)
    assert all("force=true" not in query for _method, _path, query in server.requests)
    assert server.apps[APP]["instances"] == 1


def test_a_lock_is_told_by_its_message_alone(launcher, server, plays):
    launcher.apply(spec(1))
    text = "App is locked by one or more deployments. View details at '/v2/deployments/abc-1'."
    server.misbehave(lambda regular, handler: regular() if handler.command == "GET" else plays.refuse(
        409, {"message": text})(regular, handler), times=2)  # fmt: skip
    with pytest.raises(AppLockedError, match="locked by deployment abc-1"):
        launcher.apply(spec(2))


def test_a_lock_of_our_own_does_not_hold_up_the_removal(launcher, server):
    launcher.apply(spec(1))
    assert server.deployments, "its own deployment is still under way"
    launcher.remove(APP)
    assert APP not in server.apps


def test_a_lock_of_a_lost_request_of_our_own_does_not_either(launcher, server, plays):
    def lose_the_creation(regular, handler):
        return plays.lose(regular, handler) if handler.command == "POST" else regular()

    lost = server.misbehave(lose_the_creation, times=2)
    launcher.apply(spec(1))
    assert (lost.happened, server.creations) == (2, {APP: 1})
    assert server.deployments, "whose id was in the answer that was lost"
    launcher.remove(APP)
    assert APP not in server.apps


def test_a_refused_app_is_told_with_its_details(launcher, server, plays):
    document = {"message": "Object is not valid", "details": [{"path": "/id", "errors": ["must be nice", "short"]}]}
    server.misbehave(
        lambda regular, handler: (
            regular() if handler.command == "GET" else plays.refuse(422, document)(regular, handler)
        ),
        times=2,
    )
    with pytest.raises(MarathonError, match=r"HTTP 422 Object is not valid\. /id: must be nice, short") as caught:
        launcher.apply(spec())
    assert (caught.value.status, server.creations) == (422, {})


# What a run's loop looks at while Marathon is unavailable


RUNNING = {"id": "a", "host": "h", "state": "TASK_RUNNING", "ports": [1]}


def test_a_look_during_an_outage_is_short_and_sees_what_was_seen_last(launcher, server, plays, clock):
    launcher.apply(spec(1))
    server.tasks[APP] = [RUNNING]
    seen = launcher.tasks(APP)
    assert [task.task_id for task in seen] == ["a"]
    planned = server.misbehave(plays.refuse(503, {"message": "no leader"}), times=999)
    began_s = clock.now_s()
    assert launcher.tasks(APP) == seen
    assert not launcher.removed(APP)
    assert clock.now_s() - began_s < 4, "of a time-out of 10 s a third, for both of them"
    asked = planned.happened
    assert launcher.tasks(APP) == seen
    assert planned.happened == asked + 1, "no retries while the outage lasts"
    planned.left = 0
    server.tasks[APP] = []
    assert launcher.tasks(APP) == ()


def test_an_outage_that_lasts_is_an_error(launcher, server, plays, clock):
    launcher.apply(spec(1))
    planned = server.misbehave(plays.refuse(503, {"message": "no leader"}), times=999)
    assert launcher.tasks(APP) == (), "nothing was seen yet"
    clock.sleep(CALL_LIMIT_S - 1)
    assert launcher.tasks(APP) == ()
    clock.sleep(2)
    with pytest.raises(MarathonError, match="HTTP 503 no leader"):
        launcher.tasks(APP)
    with pytest.raises(MarathonError, match="HTTP 503 no leader"):
        launcher.removed(APP)
    planned.left = 0
    assert launcher.tasks(APP) == ()
    planned.left = 1
    assert launcher.tasks(APP) == (), "the next outage has a limit of its own"


def test_an_explanation_takes_a_few_seconds_and_never_fails(launcher, server, plays, clock):
    launcher.apply(spec(1))
    server.misbehave(plays.refuse(503, {"message": "no leader"}), times=999)
    began_s = clock.now_s()
    trouble = launcher.waiting_reason(APP)
    assert clock.now_s() - began_s <= EXPLAIN_LIMIT_S
    assert not trouble.unplaced
    assert trouble.text.endswith(f"would not show {APP}: HTTP 503 no leader")


# What a run makes of it


class Unheard:
    """A progress that nobody watches."""

    def phase(self, name, detail=""):
        return

    def note(self, text):
        return


@pytest.fixture
def deployment(launcher, clock):
    signals = ZmqSignals(SignalKeys(new_key_pair()))
    yield Deployment(launcher, signals, clock, Unheard())
    signals.close()


def test_a_task_that_stays_staged_ends_the_start_with_the_queues_reason(deployment, server):
    deployment.apply(spec(2))
    reasons = [{"reason": "UnfulfilledConstraint", "declined": 3, "processed": 3}]
    server.queue = [queued(processedOffersSummary={"rejectSummaryLastOffers": reasons})]
    with pytest.raises(InfrastructureError) as caught:
        deployment.wait_ready(APP, 2, 1.5)
    assert caught.value.exit_code == 4
    assert "0 of 2 tasks of /g1/kafka-sub were ready after 1.5 s (2 wait in Marathon's queue" in str(caught.value)
    assert "UnfulfilledConstraint (3 of 3)" in str(caught.value)


def test_a_lock_is_waited_for_and_never_forced(deployment, server, clock, monkeypatch):
    monkeypatch.setattr("hydra.run.deployment.RETRY_LIMIT_S", 3.0)
    deployment.apply(spec(1))
    server.deployments[:] = [{"id": "someone-elses", "affectedApps": [APP]}]
    began_s = clock.now_s()
    with pytest.raises(AppLockedError, match="someone-elses") as caught:
        deployment.apply(spec(5))
    assert 3 <= clock.now_s() - began_s < 5
    assert caught.value.exit_code == 4
    tries = [query for method, _path, query in server.requests if method == "PUT"]
    assert len(tries) >= 3
    assert all("force=true" not in query for query in tries)
    clock.meanwhile = server.deployments.clear
    deployment.apply(spec(5))
    assert server.apps[APP]["instances"] == 5


# Several addresses


def test_another_address_is_asked_when_one_is_gone(launch, scripted):
    first, second = scripted(), scripted()
    launcher = launch(first, second)
    assert launcher.facts().version == "1.11.24"
    assert (len(first.requests), len(second.requests)) == (1, 0)
    first.close()
    launcher.apply(spec(1))
    launcher.remove(APP)
    assert second.creations == {APP: 1}


def test_another_address_is_asked_when_one_hangs(launch, scripted, plays):
    first, second = scripted(), scripted()
    planned = first.misbehave(plays.hang, times=9)
    launcher = launch(first, second, timeout_s=1.0)  # long enough for the one that answers
    assert launcher.facts().version == "1.11.24"
    launcher.apply(spec(1))
    assert (planned.happened, second.creations) == (1, {APP: 1}), "who hung is asked last from then on"


def test_no_address_that_answers_is_an_error_in_time(launch, scripted, clock):
    first, second = scripted(), scripted()
    launcher = launch(first, second)
    first.close()
    second.close()
    with pytest.raises(MarathonError, match="Connection refused"):
        launcher.facts()
    assert clock.now_s() <= CHECK_LIMIT_S


def test_a_local_one_that_is_gone_is_not_waited_for(launch, scripted, clock):
    server = scripted()
    launcher = launch(server, local=True)
    launcher.apply(spec(1))
    server.close()
    with pytest.raises(MarathonError, match="Connection refused"):
        launcher.tasks(APP)
    assert clock.now_s() == 0


# Who asks, and what is trusted


def test_basic_auth(launch, server):
    launch(server, user="hydra", password="pässwörd").facts()
    (headers,) = server.headers
    assert headers["Authorization"] == "Basic " + base64.b64encode("hydra:pässwörd".encode()).decode()


def test_an_authorization_header_wins_over_a_netrc(launch, server, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    launch(server, authorization="token=abc").facts()
    assert server.headers[0]["Authorization"] == "token=abc"


def test_secrets_are_in_no_text(launch, server, plays):
    access = MarathonAccess((server.url,), user="me", password="hunter2", authorization="")
    assert "hunter2" not in repr(access)
    server.misbehave(plays.refuse(403, {"message": "no"}))
    with pytest.raises(MarathonError) as caught:
        launch(server, user="me", password="hunter2").facts()
    assert "hunter2" not in str(caught.value)


def test_tls_with_a_ca_file(launch, scripted, tmp_path):
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    server = scripted(tls=tls)
    assert launch(server, ca_file=str(ca_file)).facts().version == "1.11.24"
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    for refused in ({}, {"ca_file": str(other)}):
        with pytest.raises(InfrastructureError, match="certificate verify failed"):
            launch(server, **refused).facts()


# Whose an app is


def test_an_app_of_another_controller_is_neither_changed_nor_removed(launch, server):
    mine, other = launch(server), launch(server)
    mine.apply(dataclasses.replace(spec(2), owner="one"))
    before = len(server.requests)
    with pytest.raises(
        UsageError, match=r"/g1/kafka-sub is there, and belongs to another run .*--app_prefix"
    ) as caught:
        other.apply(dataclasses.replace(spec(5), owner="two"))
    assert caught.value.exit_code == 2
    for app_id in (APP, "/g1/kafka-pub"):
        other.remove(app_id)
        assert other.removed(app_id)
    assert {method for method, _path, _query in server.requests[before:]} == {"GET"}
    assert server.apps[APP]["instances"] == 2
    server.deployments.clear()
    mine.apply(dataclasses.replace(spec(3), owner="one"))
    server.deployments.clear()
    mine.remove(APP)
    assert APP not in server.apps


def test_an_app_without_an_owner_is_somebody_elses(launch, server):
    launch(server).apply(spec(1))
    with pytest.raises(UsageError, match="belongs to another run"):
        launch(server).apply(dataclasses.replace(spec(1), owner="me"))
