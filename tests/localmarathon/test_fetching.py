"""What lies in a task's sandbox before its command runs."""

import functools
import http.server
import threading

import pytest

from hydra.localmarathon import fetching
from tests.marathon_fixtures import SLEEP

pytestmark = pytest.mark.integration

GIB = 1024**3


@pytest.fixture
def files(tmp_path):
    """A web server for a folder; yields its URL and the folder."""
    folder = tmp_path / "files"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}", folder
        web.shutdown()
        thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments):
        pass


def test_what_is_fetched_lies_in_the_sandbox_before_the_command(server, files):
    url, folder = files
    (folder / "a.txt").write_text("from http")
    (folder / "b.txt").write_text("from here")
    (folder / "c.tgz").write_bytes(b"as it is")
    (folder / "tool").write_text("#!/bin/sh\necho tool\n")
    fetch = [
        {"uri": f"{url}/a.txt?x=1"},
        {"uri": f"file://{folder}/b.txt", "destPath": "sub/b"},
        {"uri": f"{url}/c.tgz", "extract": False},
        {"uri": f"{url}/tool", "executable": True, "destPath": "bin/t"},
    ]
    cmd = "cat a.txt sub/b c.tgz; echo; bin/t; exec sleep 1000"
    (task,) = server.start_app("/x", cmd=cmd, fetch=fetch)
    assert server.wait_text(task["id"], lines=2) == ["from httpfrom hereas it is", "tool"]
    assert f"Fetching URI '{url}/a.txt?x=1'" in server.text(task["id"], "stderr")
    assert server.app("/x")["fetch"][2] == {
        "uri": f"{url}/c.tgz", "extract": False, "executable": False, "cache": False
    }  # fmt: skip


def test_uris_are_the_older_form_of_fetch(server, files):
    url, folder = files
    (folder / "plain").write_text("here\n")
    (task,) = server.start_app("/x", cmd="cat plain; exec sleep 1000", uris=[f"{url}/plain"])
    assert server.wait_text(task["id"]) == ["here"]
    app = server.app("/x")
    assert "uris" not in app
    assert app["fetch"][0]["extract"] is False


@pytest.mark.parametrize(
    "uri",
    [
        "{url}/missing", "file:///missing", "missing", "ftp://a/b", "http://[a", "http://127.0.0.1:1/a",
        "file:///dev/null", "file:///dev",
    ],
)  # fmt: skip
def test_a_fetch_that_fails_fails_the_task_and_says_why(server, files, poll, uri):
    uri = uri.format(url=files[0])
    server.create("/x", uris=[uri], cmd="touch was-run")
    failure = poll(lambda: server.app("/x").get("lastTaskFailure"))
    assert failure["state"] == "TASK_FAILED"
    assert "Failed to fetch all URIs for container" in failure["message"]
    assert f"'{uri}': " in failure["message"]
    assert "Failed to fetch" in server.text(failure["taskId"], "stderr")
    assert not server.text(failure["taskId"], "was-run")


def test_a_task_is_killed_while_it_fetches(server):
    asked = threading.Event()
    release = threading.Event()

    class Hanging(QuietHandler):
        def do_GET(self):
            asked.set()
            release.wait(20)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hanging) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        try:
            server.create("/x", uris=[f"http://127.0.0.1:{web.server_port}/f"], **SLEEP)
            assert asked.wait(10)
            assert [task["state"] for task in server.tasks("/x")] == ["TASK_STAGING"]
            server.call("DELETE", "/v2/apps/x")
            server.wait_settled()
            assert list(server.sandbox("").iterdir()) == []
        finally:
            release.set()
            web.shutdown()
            thread.join()


def test_a_task_is_killed_while_it_copies_a_large_file(server, tmp_path, monkeypatch):
    """A file with a hole of a gigabyte, of which a copy would have all the zeros."""
    pieces = []

    def copied_piece(original, copy, copy_piece=fetching._copy_piece):
        pieces.append(copy_piece(original, copy))
        asked.set()
        return pieces[-1]

    asked = threading.Event()
    monkeypatch.setattr(fetching, "_copy_piece", copied_piece)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(GIB)
    server.create("/x", fetch=[{"uri": f"file://{large}", "extract": False}], **SLEEP)
    assert asked.wait(10)
    server.call("DELETE", "/v2/apps/x")
    server.wait_settled()
    assert sum(pieces) < GIB
    assert list(server.sandbox("").iterdir()) == []
