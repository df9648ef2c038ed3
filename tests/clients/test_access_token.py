"""Tokens: where they come from, when they are renewed, and what is told of a source that gives none."""

from __future__ import annotations

import base64
import http.server
import json
import os
import threading
import time

import pytest

from hydra.clients import access_token
from hydra.clients.access_token import UNKNOWN_LIFETIME_S, AccessToken, expiry_s
from hydra.errors import BrokerError
from hydra.options.kafka_access import KafkaAccess, TokenSource


def jwt(expires_s):
    parts = ({"alg": "none"}, {"sub": "a", "exp": expires_s})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + ".s"


def token_of(**source):
    return AccessToken(KafkaAccess("SASL_SSL", "OAUTHBEARER", tokens=TokenSource(**source)))


def test_a_token_says_when_it_expires():
    assert expiry_s(jwt(1234.5)) == 1234.5
    assert [expiry_s(text) for text in ("", "opaque", "a.b.c", "!.!.!", jwt("soon"))] == [None] * 5


def test_a_file_is_read_again_for_a_new_token(tmp_path):
    file, now_s = tmp_path / "token", time.time()
    file.write_text(f"{jwt(now_s + 1000)}\n")
    token = token_of(file=str(file))
    first, expires_s = token.get()
    assert (first, round(expires_s - now_s)) == (jwt(now_s + 1000), 1000)
    file.write_text(jwt(now_s + 2000))
    assert token.get()[0] == first, "it is good for a while"
    token._expires_s = 0.0
    assert token.get()[0] == jwt(now_s + 2000)


def test_it_is_renewed_in_good_time_and_nobody_waits_for_that(tmp_path):
    file, now_s = tmp_path / "token", time.time()
    file.write_text(jwt(now_s + 1000))
    token = token_of(file=str(file))
    token.get()
    file.write_text(jwt(now_s + 2000))
    token._renew_s = 0.0
    assert token.get()[0] == jwt(now_s + 1000)
    deadline_s = time.monotonic() + 10
    while token.get()[0] != jwt(now_s + 2000):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_renewal_that_fails_leaves_the_token_that_there_is(tmp_path):
    file, now_s = tmp_path / "token", time.time()
    file.write_text(jwt(now_s + 1000))
    token = token_of(file=str(file))
    token.get()
    file.unlink()
    token._renew()
    assert token.get()[0] == jwt(now_s + 1000)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"file": "/no/such/token"}, "/no/such/token cannot be read"),
        ({"command": "exit 3"}, "token command failed with exit status 3"),
        ({"file": "a\0b"}, "cannot be read"),
        ({"file": "/dev/zero"}, r"/dev/zero cannot be read \(not a regular file\)"),
        ({"command": "a\0b"}, "cannot be started"),
        ({"command": "true"}, "token command gives no token"),
        ({"command": "echo two words topsecret"}, "token command gives no token"),
        ({"token": jwt(1000)}, "has expired"),
    ],
)
def test_a_source_that_gives_none_is_told_of_without_what_it_said(source, told):
    with pytest.raises(BrokerError, match=told) as refused:
        token_of(**source).get()
    assert "topsecret" not in str(refused.value)


@pytest.mark.parametrize("size", [access_token.MAX_TOKEN_BYTES, access_token.MAX_TOKEN_BYTES + 1])
def test_a_file_is_read_up_to_the_size_of_a_token(tmp_path, size):
    (tmp_path / "token").write_text("t" * size)
    if size == access_token.MAX_TOKEN_BYTES:
        assert token_of(file=str(tmp_path / "token")).get()[0] == "t" * size
    else:
        with pytest.raises(BrokerError, match=r"cannot be read \(larger than"):
            token_of(file=str(tmp_path / "token")).get()


def test_a_pipe_is_no_token_file_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "token")
    with pytest.raises(BrokerError, match="not a regular file"):
        token_of(file=str(tmp_path / "token")).get()


def test_a_command_prints_a_token():
    assert token_of(command="echo abc").get()[0] == "abc"


def test_a_command_has_the_environment_but_for_the_controllers_secrets(monkeypatch):
    monkeypatch.setenv("HYDRA_MARATHON_PASSWORD", "secret")
    monkeypatch.setenv("HYDRA_KAFKA_CLIENT_SECRET", "secret")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    command = 'echo "$AWS_PROFILE$HYDRA_MARATHON_PASSWORD$HYDRA_KAFKA_CLIENT_SECRET"'
    assert token_of(command=command).get()[0] == "lab"


def test_a_command_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(access_token, "FETCH_TIMEOUT_S", 0.2)
    with pytest.raises(BrokerError, match=r"did not end, within 0\.2 s"):
        token_of(command="exec sleep 60").get()


def test_a_command_that_prints_without_end_gives_none():
    with pytest.raises(BrokerError, match="gives no token"):
        token_of(command="while echo abc; do :; done").get()


@pytest.fixture
def provider():
    """An identity provider; what it was asked, and what it answers."""
    asked, answers = [], []

    class Provider(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
            asked.append((base64.b64decode(self.headers["Authorization"].split()[1]).decode(), body))
            status, content, *headers = answers.pop(0)
            self.send_response(status)
            for header in headers:
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(content.encode())

        do_GET = do_POST  # noqa: N815  # what urllib makes of a redirected POST

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Provider) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/token", asked, answers
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("lifetime", ["1e400", "1" + "0" * 400, "NaN"])
def test_a_lifetime_that_counts_no_seconds_is_unknown(provider, lifetime):
    url, _, answers = provider
    answers.append((200, f'{{"access_token": "opaque", "expires_in": {lifetime}}}'))
    assert token_of(url=url, client_id="a", client_secret="b").get()[1] - time.time() <= UNKNOWN_LIFETIME_S


def test_a_provider_that_fails_is_asked_once_and_not_by_each_connection(provider, monkeypatch):
    url, asked, answers = provider
    token = token_of(url=url, client_id="app", client_secret="topsecret")
    answers.extend([(503, ""), (200, '{"access_token": "opaque"}')])
    monkeypatch.setattr(access_token, "ASK_AGAIN_S", 3600.0)
    monkeypatch.setattr(access_token, "FAILURE_HOLDS_S", 3600.0)
    for _ in range(3):
        with pytest.raises(BrokerError, match="HTTP 503"):
            token.get()
    assert len(asked) == 1
    monkeypatch.setattr(access_token, "ASK_AGAIN_S", 0.0)
    with pytest.raises(BrokerError, match="HTTP 503"):
        token.get()  # a thread asks from now on
    deadline_s = time.monotonic() + 10
    while token._failure is not None:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    assert token.get()[0] == "opaque"
    assert len(asked) == 2


def test_a_failure_of_some_time_ago_is_no_answer(tmp_path):
    file = tmp_path / "token"
    token = token_of(file=str(file))
    with pytest.raises(BrokerError):
        token.get()
    file.write_text("abc")
    token._failed_s -= access_token.FAILURE_HOLDS_S
    assert token.get()[0] == "abc"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_clients_secret_follows_no_redirect(provider, status):
    url, asked, answers = provider
    answers.append((status, "", ("Location", url)))
    with pytest.raises(BrokerError, match=rf"redirects \(HTTP {status}\)") as refused:
        token_of(url=url, client_id="app", client_secret="topsecret").get()
    assert len(asked) == 1
    assert "topsecret" not in str(refused.value)


def test_a_provider_on_this_machine_is_asked_without_a_proxy(provider, monkeypatch):
    url, asked, answers = provider
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setattr("urllib.request._opener", None)  # it would keep the proxies of an earlier test
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    answers.append((200, '{"access_token": "opaque"}'))
    assert token_of(url=url, client_id="app", client_secret="s").get()[0] == "opaque"
    assert len(asked) == 1


def test_an_identity_provider_grants_a_token(provider):
    url, asked, answers = provider
    answers.append((200, '{"access_token": "opaque", "expires_in": 60}'))
    got, expires_s = token_of(url=url, client_id="a:b", client_secret="s/3", scope="kafka x").get()
    assert got == "opaque"
    assert 50 < expires_s - time.time() <= 60
    assert asked == [("a%3Ab:s%2F3", "grant_type=client_credentials&scope=kafka+x")]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((401, '{"error": "invalid_client"}'), r"refused the client 'app' \(HTTP 401\)"),
        ((200, "<html>"), "cannot be asked"),
        ((200, "[" * 5000), "cannot be asked"),
        ((200, "[]"), "without an access_token"),
        ((200, '{"access_token": 3}'), "without an access_token"),
    ],
)
def test_an_identity_provider_that_grants_none_is_told_of(provider, answer, told):
    url, _, answers = provider
    answers.append(answer)
    with pytest.raises(BrokerError, match=told) as refused:
        token_of(url=url, client_id="app", client_secret="topsecret").get()
    assert "topsecret" not in str(refused.value)


def test_the_signer_of_aws_is_asked_for_where_it_is_missing():
    with pytest.raises(BrokerError, match=r"not installed here: pip install 'hydra-scaletest\[aws\]'"):
        AccessToken(KafkaAccess("SASL_SSL", "AWS_MSK_IAM", aws_region="eu-west-1")).get()
