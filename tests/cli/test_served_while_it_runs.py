"""``--ui`` and ``--metrics_port`` of a command: what is served while it runs, and that nothing is once it is over."""

import json
import re
import urllib.error
import urllib.request

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from hydra.live.underway import runs_under_way
from tests.samples import result


def get(address):
    """(status, body) of an address; nothing goes through a proxy."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def served(stand_in, capsys):
    """What a command told and served while it ran."""
    stand_in.result, seen, run_test = result("pass"), {}, stand_in.run_test

    def look(self):
        seen["told"] = capsys.readouterr().err
        seen["links"] = re.findall(r"http://127\.0\.0\.1:\d+/\S+", seen["told"])
        seen["under_way"] = [run.url for run in runs_under_way()]
        seen["replies"] = [get(link) for link in seen["links"]]
        seen["wrong"] = [get(link[:-2] + "/") for link in seen["links"]]
        run_test(self)

    stand_in.run_test = look
    return seen


def test_the_page_and_the_metrics_are_served_while_a_command_runs(call, served):
    code, _out, err = call("kafka", "--clients=10", "--msg_rate=700", "--ui", "--metrics_port=0")
    assert code == 0, err
    metrics, page = served["links"]
    assert [f"metrics: {metrics}" in served["told"], f"has this link: {page}" in served["told"]] == [True, True]
    assert served["under_way"] == [page]
    (metrics_status, text), (page_status, html) = served["replies"]
    assert (metrics_status, page_status) == (200, 200)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["hydra_asked_rate"].samples[0].value == 700
    assert "<title>Hydra: live</title>" in html
    assert [status for status, _ in served["wrong"]] == [404, 403]
    assert runs_under_way() == []
    for link in served["links"]:
        with pytest.raises(urllib.error.URLError):
            get(link)


def test_nothing_is_served_that_was_not_asked_for(call, served):
    assert call("kafka", "--clients=10")[0] == 0
    assert (served["links"], served["under_way"]) == ([], [""])


def test_a_search_tells_its_page_between_what_its_limit_lies(call, stand_in, monkeypatch):
    """What is in the first event of a page that is opened while a run goes on."""
    stand_in.result, seen, run_test = result("pass"), [], stand_in.run_test

    def look(self):
        (run,) = runs_under_way()
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"{run.url}pictures", timeout=10
        ) as reply:
            seen.append(json.loads(reply.readline().removeprefix(b"data: "))["limit_so_far"])
        run_test(self)

    monkeypatch.setattr(stand_in, "run_test", look)
    monkeypatch.setattr(stand_in, "set_options", lambda _self, _options: None, raising=False)
    monkeypatch.setattr(stand_in, "scale_sub_app", lambda _self: None, raising=False)
    code, _out, err = call("kafka", "maxrate", "--clients=10", "--max_runs=2", "--ui")
    assert code == 3, err
    assert seen == ["", "highest rate for 10 clients: at least 1,000 records/s"]
