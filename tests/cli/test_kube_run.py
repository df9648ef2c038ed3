"""A run whose controller is in the cluster, as its command follows it: what it tells, fetches and removes."""

import dataclasses
import json
import tempfile
from pathlib import Path

import pytest

from hydra.broker import given_access
from hydra.cli import kube_run
from hydra.cli.flags import Outputs
from hydra.cli.kube_run import Follower
from hydra.codec import encode
from hydra.engine.kube_access import kubernetes_access
from hydra.engine.kube_controller import ControllerJob
from hydra.engine.kube_controller_objects import packed
from hydra.errors import (
    InfrastructureError,
    InterruptedRunError,
    KubernetesError,
    OutputError,
    RemoteRunError,
    UsageError,
)
from hydra.kafkatest.kube_order import ToldProgress
from hydra.options.options import Options
from tests.engine.conftest import FakeClock
from tests.samples import run
from tests.scripted_kubernetes import playing_kubernetes, running, terminated, unschedulable, waiting

OPTIONS = Options(engine="kubernetes", bootstrap_servers="127.0.0.1:9", kube_image="hydra:1", total_sub_apps=3)
JOB = "hydra-g1-controller"
NOTHING = ({}, {}, {}, {})


class Shown:
    wants_figures = True

    def __init__(self):
        self.notes, self.phases = [], []

    def phase(self, name, detail=""):
        self.phases.append(name)

    def counts(self, live):
        raise AssertionError(live)

    def note(self, text):
        self.notes.append(text)

    def hide(self):
        self.phases.append("hidden")


class Case:
    """A command that has started a controller, of which the test decides what becomes."""

    def __init__(self, server, folder):
        self.server = server
        self.shown, self.clock = Shown(), FakeClock()
        access = kubernetes_access(None, None, server.kubeconfig(folder / "config"))
        self.job = ControllerJob(access, self.clock, "g1")
        self.output = folder / "result.json"
        self.follower = Follower(self.job, self.shown, Outputs(output=str(self.output)), self.clock)
        self.lines = []
        self.progress = ToldProgress(self.lines.append)

    def start(self):
        self.follower.start(OPTIONS, "hydra", b"{}")

    @property
    def pod(self):
        (name,) = self.server.pods
        return name

    def say(self, name):
        self.progress.phase(name)
        self.server.logs[self.pod] = "\n".join(self.lines)

    def end(self, record, code=0, error=""):
        """The controller stores its result, and ends."""
        access = kubernetes_access(None, None, {"KUBECONFIG": str(self.output.parent / "config")})
        inside = ControllerJob(access, self.clock, "g1")
        inside.adopt(self.server.jobs[JOB]["metadata"]["uid"])
        inside.store(*packed(None if record is None else encode(record), code, error, "mend it"))
        inside.close()
        self.server.pods[self.pod]["status"] = terminated(code)

    def after(self, looks, act):
        """Have something happen while the command waits."""

        def meanwhile():
            self.clock.meanwhile = meanwhile if (left := next(count, None)) is not None else lambda: None
            if left == 0:
                act()

        count = iter(range(looks - 1, -1, -1))
        self.clock.meanwhile = meanwhile

    @property
    def left(self):
        return self.server.jobs, self.server.pods, self.server.secrets, self.server.config_maps


@pytest.fixture
def case(tmp_path):
    with playing_kubernetes() as played:
        case = Case(played, tmp_path)
        yield case
        case.job.close()


def test_it_is_followed_and_its_result_is_written_before_it_is_removed(case, capsys):
    case.start()
    case.say("sending")
    record = run()
    case.after(3, lambda: (case.say("auditing"), case.end(record)))
    case.follower.follow(60)
    assert case.follower.bring() == record.result.exit_code
    assert case.shown.phases == ["sending", "auditing", "hidden"]
    assert "hydra cli result --engine=kubernetes --app_prefix=g1" in case.shown.notes[0]
    assert json.loads(case.output.read_text())["result"]["verdict"] == record.result.verdict
    assert record.result.verdict.upper() in capsys.readouterr().out
    assert case.left == NOTHING


def test_a_result_that_cannot_be_written_stays_in_the_cluster(case, capsys):
    case.start()
    case.end(run())
    case.follower.follow(60)
    case.output.mkdir()
    with pytest.raises(OutputError, match="is still in the cluster: 'hydra cli result' fetches it"):
        case.follower.bring()
    assert JOB in case.server.jobs
    assert case.server.config_maps


@pytest.fixture
def from_ini(call, case, monkeypatch):
    """A command line in a folder whose hydra.ini names the cluster and a file for the result."""
    monkeypatch.setenv("KUBECONFIG", str(case.output.parent / "config"))
    places = "engine = kubernetes\noutput = ini.json\n[kafka]\nbootstrap_servers = 127.0.0.1:9\n"
    Path("hydra.ini").write_text(f"[hydra]\n{places}[kubernetes]\nkube_image = hydra:1\n")
    return call


@pytest.mark.parametrize(("flags", "written"), [((), "ini.json"), (("--output=flag.json",), "flag.json")])
def test_a_result_is_fetched_to_where_hydra_ini_says_and_a_flag_wins(from_ini, case, flags, written):
    case.start()
    case.end(run())
    code, _out, err = from_ini("cli", "result", *flags)
    assert code == 0, err
    assert [str(file) for file in Path().glob("*.json")] == [written]
    assert case.left == NOTHING


def test_a_result_without_a_place_stays_in_the_cluster_whoever_says_so(from_ini, case):
    case.start()
    case.end(run())
    Path("ini.json").mkdir()
    code, _out, err = from_ini("cli", "result")
    assert (code, "--output=ini.json is a folder" in err) == (4, True)
    assert case.server.config_maps


@pytest.mark.parametrize(("flags", "written"), [((), "ini.json"), (("--output=flag.json",), "flag.json")])
def test_a_run_in_the_cluster_is_written_to_where_hydra_ini_says(from_ini, monkeypatch, flags, written):
    given = []
    monkeypatch.setattr(kube_run, "run_in_cluster", lambda *arguments: given.append(arguments[3]) or 0)
    code, _out, err = from_ini("kafka", "--kube_controller", *flags)
    assert code == 0, err
    assert given == [Outputs(output=written)]


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (3, "the broker is gone", "^the broker is gone: mend it"),
        (143, "terminated", r"^the run was ended in the cluster \(terminated\)"),
    ],
)
def test_an_error_of_the_run_has_its_words_and_its_exit_code(case, code, error, words):
    case.start()
    case.end(None, code, error)
    case.follower.follow(60)
    with pytest.raises(RemoteRunError, match=words) as caught:
        case.follower.bring()
    assert caught.value.exit_code == code
    assert case.left == NOTHING


def test_a_controller_that_dies_is_told_with_its_last_lines(case):
    case.start()
    case.server.logs[case.pod] = "Traceback\nMemoryError"
    case.server.pods[case.pod]["status"] = terminated(137, "OOMKilled")
    case.follower.follow(60)
    with pytest.raises(InfrastructureError, match=r"without a result .*OOMKilled .*Traceback \| MemoryError") as caught:
        case.follower.bring()
    assert caught.value.exit_code == 4
    assert case.left == NOTHING


@pytest.mark.parametrize(
    ("status", "words", "within_s"),
    [
        (waiting("ImagePullBackOff", "Back-off pulling"), "ImagePullBackOff: Back-off pulling", 2),
        (unschedulable("0/3 nodes are available"), "Unschedulable: 0/3 nodes are available", 9),
    ],
)
def test_one_that_does_not_start_is_given_up_and_removed(case, status, words, within_s):
    case.server.pod_status = status
    case.start()
    with pytest.raises(KubernetesError, match=f"does not run: {words}") as caught:
        case.follower.follow(5)
    assert caught.value.exit_code == 4
    assert case.clock.now_s() < within_s
    assert case.left == NOTHING


def test_one_whose_node_is_lost_is_given_up_after_a_long_time(case, monkeypatch):
    monkeypatch.setattr(kube_run, "AWAY_LIMIT_S", 8)
    monkeypatch.setattr(kube_run, "LOOK_EVERY_S", 4)
    case.start()
    lost = {**running("127.0.0.9"), "conditions": [{"type": "Ready", "status": "False", "reason": "NodeLost"}]}
    case.after(2, lambda: case.server.pods[case.pod].update(status=lost))
    with pytest.raises(KubernetesError, match="does not run: its node node-0 does not report"):
        case.follower.follow(60)
    assert 4 + 8 < case.clock.now_s() < 30
    assert len(case.shown.notes) == 2
    assert case.left == NOTHING


def test_an_api_server_that_is_away_for_long_leaves_the_run_alone(case, monkeypatch):
    monkeypatch.setattr(kube_run, "AWAY_LIMIT_S", 8)
    monkeypatch.setattr(kube_run, "LOOK_EVERY_S", 4)
    case.start()
    case.server.fail("GET", JOB, 503, "away", times=8)
    case.after(14, lambda: case.end(None, 3, "over"))
    case.follower.follow(60)
    assert case.shown.notes[1:] == ["the API server cannot be reached; the run goes on"]
    case.server.fail("GET", JOB, 503, "away", times=100_000)
    with pytest.raises(KubernetesError, match="503 away"):
        case.follower.follow(60)
    case.server.faults.clear()
    assert JOB in case.server.jobs


@pytest.mark.parametrize(("number", "goes_on"), [(1, True), (2, False)])
def test_who_asks_for_the_end_ends_the_run_and_a_closed_terminal_does_not(case, number, goes_on, capsys):
    def interrupted():
        case.after(2, lambda: case.end(dataclasses.replace(run(), status="interrupted"), 128 + number, "interrupted"))
        raise InterruptedRunError(number)

    case.start()
    case.after(2, interrupted)
    with pytest.raises(InterruptedRunError), case.follower.ended_on_purpose():
        case.follower.follow(60)
    assert (JOB in case.server.jobs) is goes_on
    if goes_on:
        assert not Path(case.output).exists()
        return
    assert json.loads(case.output.read_text())["status"] == "interrupted"
    assert case.left == NOTHING


def ended_by_its_user(case):
    """Ctrl-C; the controller ends soon afterwards, and has stored what it knows."""
    case.start()
    case.after(2, lambda: case.end(dataclasses.replace(run(), status="interrupted"), 130, "interrupted"))
    with pytest.raises(InterruptedRunError), case.follower.ended_on_purpose():
        raise InterruptedRunError(2)


def test_what_a_user_has_ended_and_cannot_be_written_is_told_and_stays_in_the_cluster(case, capsys):
    case.output.mkdir()
    ended_by_its_user(case)
    assert "is still in the cluster: 'hydra cli result' fetches it" in case.shown.notes[-1]
    assert JOB in case.server.jobs
    assert case.server.config_maps


def test_an_api_server_that_is_away_for_a_while_costs_an_ended_run_no_result(case, monkeypatch, capsys):
    monkeypatch.setattr(kube_run, "LOOK_EVERY_S", 4)
    case.server.fail("GET", JOB, 503, "away", times=5)
    ended_by_its_user(case)
    assert json.loads(case.output.read_text())["status"] == "interrupted"
    assert case.left == NOTHING


def test_one_that_does_not_end_when_it_is_asked_is_removed(case, monkeypatch):
    monkeypatch.setattr(kube_run, "STOP_LIMIT_S", 5)
    case.start()
    with pytest.raises(InterruptedRunError), case.follower.ended_on_purpose():
        raise InterruptedRunError(2)
    assert case.left == NOTHING


def test_a_start_that_is_refused_halfway_leaves_nothing(case):
    case.server.denied = {("get", "configmaps")}
    with pytest.raises(KubernetesError, match="may not get configmaps in lab, which results are in"):
        case.start()
    case.server.denied.clear()
    message = 'secrets is forbidden: User "me" cannot create resource "secrets" in API group ""'
    case.server.fail("POST", "/secrets", 403, message, reason="Forbidden")
    with pytest.raises(KubernetesError, match="would not create the secret of the controller"):
        case.start()
    assert case.left == NOTHING


def test_what_cannot_be_ordered_leaves_no_file_of_the_kubeconfig(case, monkeypatch):
    file = case.output.parent / "config"
    config = json.loads(file.read_text())
    config["clusters"][0]["cluster"]["certificate-authority-data"] = "Q0E="
    file.write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(file))
    monkeypatch.setattr(given_access, "access_to_brokers", lambda _options: 1 / 0)
    before = set(Path(tempfile.gettempdir()).glob("hydra-kube-*"))
    with pytest.raises(ZeroDivisionError):
        kube_run.run_in_cluster(None, OPTIONS, "hydra", Outputs(), "")
    assert set(Path(tempfile.gettempdir()).glob("hydra-kube-*")) == before


@pytest.mark.parametrize("labelled", [True, False], ids=["another command's", "none of Hydra's"])
def test_who_interrupts_before_the_job_is_made_ends_nobody_elses_run(case, labelled):
    other = ControllerJob(case.job._access, case.clock, "g1")
    other.create(OPTIONS, "hydra", b"{}")
    if not labelled:
        case.server.jobs[JOB]["metadata"]["labels"] = {}
    before = json.dumps(case.server.jobs)
    with pytest.raises(InterruptedRunError), case.follower.ended_on_purpose():
        raise InterruptedRunError(2)
    assert json.dumps(case.server.jobs) == before
    assert {method for method, path, _headers in case.server.requests if path.endswith(JOB)} == {"GET"}
    assert (case.shown.notes, case.clock.now_s()) == ([], 0)
    other._connection.close()


def lose_what_is_made(server):
    """Have the API server make a job, and be away before it has said so."""
    answer = server.answer_jobs

    def lose(method, name, body, query):
        answered = answer(method, name, body, query)
        if method != "POST":
            return answered
        server.fail("POST", "/jobs", 503, "away", times=1000)
        return 503, {"message": "lost"}, {}

    server.answer_jobs = lose


def test_a_job_whose_making_was_not_heard_of_is_removed_by_its_owner(case):
    lose_what_is_made(case.server)
    with pytest.raises(KubernetesError, match="503 away"):
        case.start()
    assert case.left == NOTHING


def test_who_interrupts_the_making_removes_what_was_made(case):
    lose_what_is_made(case.server)

    def interrupt():
        raise InterruptedRunError(2)

    case.clock.meanwhile = lambda: (setattr(case.clock, "meanwhile", lambda: None), interrupt())
    with pytest.raises(InterruptedRunError), case.follower.ended_on_purpose():
        case.start()
    assert case.left == NOTHING


def test_what_is_left_of_a_controller_that_could_not_be_made_whole_is_told(case):
    case.server.fail("POST", "/secrets", 403, "exceeded quota: small", times=1)
    case.server.fail("DELETE", f"/jobs/{JOB}", 403, 'admission webhook "p" denied the request: no', times=1)
    with pytest.raises(KubernetesError, match="exceeded quota"):
        case.start()
    (note,) = case.shown.notes
    assert note.startswith("not everything could be cleaned up: Kubernetes would not delete the job")


def test_a_controller_that_somebody_else_has_started_is_left_alone_and_not_waited_for(case):
    other = ControllerJob(case.job._access, case.clock, "g1")
    other.create(OPTIONS, "hydra", b"{}")
    with pytest.raises(UsageError, match="of a run that was started before"):
        case.start()
    assert (case.shown.notes, case.clock.now_s()) == ([], 0)
    assert JOB in case.server.jobs
    other._connection.close()
