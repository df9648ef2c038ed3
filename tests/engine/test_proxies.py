"""Which requests go through a proxy of the environment, and what is said of one that fails."""

import contextlib
import socket

import pytest
import requests

from hydra.engine.http_session import BoundedSession
from hydra.engine.marathon_access import MarathonAccess
from hydra.engine.marathon_connection import MarathonConnection
from hydra.errors import MarathonError
from hydra.run.clock import MonotonicClock


@pytest.fixture
def nobody():
    """A port of this machine that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def proxy(monkeypatch, nobody):
    """The environment names a proxy that is not there."""
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://someone:secret@127.0.0.1:{nobody}")
    return f"127.0.0.1:{nobody}"


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "[::1]"])
def test_this_machine_is_never_behind_a_proxy(host):
    with contextlib.closing(BoundedSession(2.0, trust_env=True)) as session, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(requests.RequestException):
            session.request("GET", f"http://{host}:{taken.getsockname()[1]}/")
        assert (session.proxy, "proxy" in session.failure) == ("", False)


def test_a_proxy_that_failed_is_named_without_its_secrets(proxy):
    access = MarathonAccess(("http://marathon.example:8080",), timeout_s=2.0)
    clock = MonotonicClock()
    with contextlib.closing(MarathonConnection(access, clock)) as connection, pytest.raises(MarathonError) as caught:
        connection.request("list apps", "GET", "/v2/apps", dict, deadline_s=clock.now_s())
    assert f"through the proxy {proxy} that the environment names" in str(caught.value)
    assert "secret" not in str(caught.value)


def merged(session, url="https://m.lab:6443/"):
    return session.merge_environment_settings(url, {}, True, None, None)


def test_what_a_session_was_given_wins_over_the_environment(monkeypatch, proxy):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/environment/ca.pem")
    with contextlib.closing(BoundedSession(2.0, trust_env=True)) as session:
        assert merged(session)["verify"] == "/environment/ca.pem"
        assert proxy in merged(session)["proxies"]["https"]
        session.verify, session.proxies = "/given/ca.pem", {"https": "http://given:1"}
        assert merged(session)["verify"] == "/given/ca.pem"
        assert merged(session)["proxies"] == {"https": "http://given:1"}
        session.verify = False
        assert merged(session)["verify"] is False
