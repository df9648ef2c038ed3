"""Tokens: where they come from, when they are renewed, and what is told of a source that gives none."""

from __future__ import annotations

import base64
import http.server
import json
import threading
import time

import pytest

from hydra.clients import access_token
from hydra.clients.access_token import AccessToken, expiry_s
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
        ({"command": "true"}, "token command gives no token"),
        ({"command": "echo two words topsecret"}, "token command gives no token"),
        ({"token": jwt(1000)}, "has expired"),
    ],
)
def test_a_source_that_gives_none_is_told_of_without_what_it_said(source, told):
    with pytest.raises(BrokerError, match=told) as refused:
        token_of(**source).get()
    assert "topsecret" not in str(refused.value)


def test_a_command_prints_a_token():
    assert token_of(command="echo abc").get()[0] == "abc"


def test_a_command_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(access_token, "FETCH_TIMEOUT_S", 0.2)
    with pytest.raises(BrokerError, match=r"nothing within 0\.2 s"):
        token_of(command="exec sleep 60").get()


@pytest.fixture
def provider():
    """An identity provider; what it was asked, and what it answers."""
    asked, answers = [], []

    class Provider(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked.append((base64.b64decode(self.headers["Authorization"].split()[1]).decode(), body))
            status, content = answers.pop(0)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Provider) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/token", asked, answers
        server.shutdown()
        thread.join()


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
