"""Secrets for Marathon: from a private file or the environment, and told to nobody."""

import os

import pytest
import trustme

from hydra.engine.marathon_access import TOKEN_FILE, given_access, local_access, new_token
from hydra.errors import MarathonError, UsageError
from hydra.options.options import Options

URL = "http://a:8080,https://b:8443"


@pytest.fixture
def secrets(tmp_path):
    def write(text, mode=0o600):
        path = tmp_path / "secrets"
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    return write


def access(environment=(), **options):
    return given_access(Options(marathon_url=URL, bootstrap_servers="k:9092", **options), dict(environment))


def test_without_secrets_nobody_asks():
    found = access()
    assert (found.urls, found.local) == (("http://a:8080", "https://b:8443"), False)
    assert (found.user, found.password, found.authorization, found.ca_file) == ("", "", "", None)


def test_a_file_names_user_and_password(secrets):
    path = secrets("# of the lab\n\nuser = hydra\n  password=a = b \n")
    found = access(marathon_secrets=path)
    assert (found.user, found.password) == ("hydra", "a = b")
    assert "a = b" not in repr(found)


def test_a_file_names_an_authorization(secrets):
    assert access(marathon_secrets=secrets("authorization = token=abc\n")).authorization == "token=abc"


def test_the_environment_names_them_and_the_file_wins(secrets):
    environment = {"HYDRA_MARATHON_USER": "me", "HYDRA_MARATHON_PASSWORD": "pw", "HYDRA_MARATHON_AUTHORIZATION": ""}
    found = access(environment)
    assert (found.user, found.password) == ("me", "pw")
    found = access(environment, marathon_secrets=secrets("authorization=x"))
    assert (found.user, found.authorization) == ("", "x")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o777])
def test_a_file_that_others_may_read_is_not_used(secrets, mode):
    path = secrets("user=u\npassword=hunter2\n", mode)
    with pytest.raises(UsageError, match=rf"may be read by others: chmod 600 {path}") as caught:
        access(marathon_secrets=path)
    assert caught.value.exit_code == 2
    assert os.stat(path).st_mode & 0o777 == mode


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("hunter2\n", "line 1 is not user, password, authorization = value"),
        ("user = u\npasswort = hunter2\n", "line 2 is not"),
        ("password = \n", "line 1 is not"),
        ("user=u\nuser=hunter2\n", "line 2 has user a second time"),
        ("user = hunter2\n", "a user without a password"),
        ("password = hunter2\n", "a password without a user"),
        ("user=u\npassword=hunter2\nauthorization=x\n", "an authorization beside user or password"),
        ("authorization = hünter2\n", "authorization has characters that no HTTP header can carry"),
        ("user=u\npassword=hunter2\x07\n", "password has characters"),
    ],
)
def test_a_wrong_file_is_told_without_what_stands_in_it(secrets, text, told):
    with pytest.raises(UsageError) as caught:
        access(marathon_secrets=secrets(text))
    assert told in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "hünter2" not in str(caught.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        access(marathon_secrets=str(tmp_path / "none"))


def test_a_ca_file_is_looked_at_before_anything_is_asked(tmp_path):
    good, bad = tmp_path / "ca.pem", tmp_path / "bad.pem"
    trustme.CA().cert_pem.write_to_path(str(good))
    bad.write_text("no certificate")
    assert access(marathon_ca_file=str(good)).ca_file == str(good)
    with pytest.raises(UsageError, match="holds no certificates"):
        access(marathon_ca_file=str(bad))
    os.mkfifo(tmp_path / "pipe")
    for name in (str(tmp_path / "none"), str(tmp_path / "pipe"), "/dev/zero"):
        with pytest.raises(UsageError, match="cannot be read"):
            access(marathon_ca_file=name)


def test_a_local_marathon_is_told_its_own_token_and_no_other_secret(monkeypatch, tmp_path):
    monkeypatch.setenv("HYDRA_MARATHON_USER", "me")
    token = new_token(tmp_path / TOKEN_FILE)
    assert (tmp_path / TOKEN_FILE).stat().st_mode & 0o777 == 0o600
    access = local_access("http://127.0.0.1:1", tmp_path)
    assert (access.user, access.authorization) == ("", f"Bearer {token}")
    assert token not in repr(access)
    with pytest.raises(FileExistsError):
        new_token(tmp_path / TOKEN_FILE)
    with pytest.raises(MarathonError, match=r"the token of the local Marathon at \S+ cannot be read"):
        local_access("http://127.0.0.1:1", tmp_path / "gone")


def test_a_header_as_curl_takes_it_is_a_secret_too(secrets):
    found = access(marathon_secrets=secrets("Authorization: Bearer a:b=c\n"))
    assert found.authorization == "Bearer a:b=c"
