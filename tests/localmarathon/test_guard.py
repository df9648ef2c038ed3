"""Who may give orders to a local Marathon, and who is refused: other users of the machine, and web pages."""

import asyncio
import base64
import contextlib
import http.client
import http.server
import threading

import pytest

from hydra.localmarathon.errors import RequestRefusedError
from hydra.localmarathon.guard import RequestGuard
from tests.browser import find_chromium
from tests.marathon_fixtures import NEVER, poll

TOKEN = "a-token-of-this-test"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
OWN = {"Host": "127.0.0.1:8080", **BEARER}


@pytest.fixture
def guard():
    return RequestGuard("127.0.0.5", TOKEN)


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:1", "localhost:8080", "LocalHost.", "[::1]:8080", "127.0.0.5"]
)
@pytest.mark.parametrize(
    "authorization", [BEARER, {"Authorization": f"bearer  {TOKEN} "}, basic("", TOKEN), basic("x", TOKEN)]
)
def test_its_own_user_is_served(guard, host, authorization):
    guard.check({"Host": host, **authorization}, has_body=False)
    json = {"Content-Type": "application/json; charset=utf-8", "Sec-Fetch-Site": "none"}
    guard.check({"Host": host, **authorization, **json}, has_body=True)


def test_its_own_origin_is_served(guard):
    guard.check({**OWN, "Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "same-origin"}, has_body=False)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        # DNS rebinding: a name of somebody else that was made to mean this address.
        *(({**BEARER, "Host": host}, 403) for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example")),
        *(({**BEARER, "Host": host}, 403) for host in ("127.0.0.1:8080@evil.example", "evil@127.0.0.2", "0.0.0.0")),
        *(({**BEARER, "Host": host}, 403) for host in ("", "[::1")),
        *(({**OWN, "Origin": origin}, 403) for origin in ("null", "http://evil.example", "https://127.0.0.1:8080", "")),
        *(({**OWN, "Origin": origin}, 403) for origin in ("http://127.0.0.1:9", "http://localhost:8080")),
        *(({**OWN, "Sec-Fetch-Site": site}, 403) for site in ("cross-site", "same-site", "whatever")),
        *(({"Host": "127.0.0.1", "Authorization": text}, 401) for text in ("", "Bearer", "Bearer ", f"Token {TOKEN}")),
        *(({"Host": "127.0.0.1", "Authorization": text}, 401) for text in (f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x")),
        *(({"Host": "127.0.0.1", "Authorization": text}, 401) for text in ("Basic !", "Basic /w==", "Bearer \udcff")),
        ({"Host": "127.0.0.1"}, 401),
        ({"Host": "127.0.0.1", **basic(TOKEN, "")}, 401),
        *(({**OWN, "Content-Type": kind}, 415) for kind in ("", "text/plain", "application/x-www-form-urlencoded")),
        ({**OWN, "Content-Type": "text/plain; application/json"}, 415),
    ],
)  # fmt: skip
def test_strangers_are_refused(guard, headers, status):
    with pytest.raises(RequestRefusedError) as refused:
        guard.check(headers, has_body=True)
    assert refused.value.http_status == status
    assert TOKEN not in str(refused.value)


def test_a_server_for_everyone_is_still_none_for_web_pages():
    guard = RequestGuard("127.0.0.1", "")
    guard.check({"Host": "127.0.0.1"}, has_body=False)
    for headers in ({"Host": "evil.example"}, {"Host": "127.0.0.1", "Origin": "http://evil.example"}):
        with pytest.raises(RequestRefusedError):
            guard.check(headers, has_body=False)


@pytest.mark.parametrize(
    "path", ["/v2/apps", "/v2/info", "/ping", "/nowhere", "/slaves", "/v2/apps/x?force=true", "/files/read?path=/x"]
)
def test_every_path_is_closed(start_marathon, path):
    """... to each method; and the answer is Marathon's JSON."""
    server = start_marathon(token=TOKEN)
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = server.call(method, path, {})
        assert answer.status_code == 401, method
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
        assert "token" in answer.json()["message"]
        assert not [name for name in answer.headers if name.startswith("Access-Control")]
    assert server.call("GET", "/v2/info", headers=BEARER).status_code == 200


def test_a_request_with_two_names_is_refused(start_marathon):
    """HTTP has one Host; who sends two hopes that two readers choose differently."""
    server = start_marathon(token=TOKEN)
    connection = http.client.HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]), timeout=10)
    connection.putrequest("GET", "/v2/info", skip_host=True)
    for host in ("127.0.0.1", "evil.example"):
        connection.putheader("Host", host)
    connection.putheader("Authorization", f"Bearer {TOKEN}")
    connection.endheaders()
    assert connection.getresponse().status in {400, 403}
    connection.close()


PAGE = """<!doctype html><title>evil</title>
<form id=form method=post enctype=text/plain action="%(url)s/v2/apps" target=frame>
<input name='%(head)s' value='%(tail)s'></form>
<iframe name=frame></iframe>
<script>
const url = "%(url)s/v2/apps", body = JSON.stringify(%(app)s);
async function attack() {
  for (const headers of [{"Content-Type": "text/plain"}, {}])
    await fetch(url, {method: "POST", mode: "no-cors", headers, body}).catch(() => 0);
  await fetch(url, {method: "POST", headers: {"Content-Type": "application/json"}, body}).catch(() => 0);
  navigator.sendBeacon(url, body);
  navigator.sendBeacon(url, new Blob([body], {type: "text/plain"}));
  document.getElementById("form").submit();
}
</script>"""


@pytest.fixture
def seen(monkeypatch):
    """(origin, status) of each order that reaches a server."""
    requests = []
    check = RequestGuard.check

    def checked(guard, headers, *, has_body):
        if not has_body and "Origin" not in headers:  # the browser's own wish for an icon of what answered
            return check(guard, headers, has_body=has_body)
        try:
            check(guard, headers, has_body=has_body)
        except RequestRefusedError as error:
            requests.append((headers.get("Origin"), error.http_status))
            raise
        requests.append((headers.get("Origin"), 200))
        return None

    monkeypatch.setattr(RequestGuard, "check", checked)
    return requests


@contextlib.contextmanager
def site_of(folder):
    """A web server for the files of a folder; yields its address."""

    class Site(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=folder)

        def log_message(self, *_arguments):
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{site.server_port}"
        finally:
            site.shutdown()
            thread.join(10)


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium: apt-get install chromium")
@pytest.mark.parametrize("token", [TOKEN, ""])
def test_a_page_in_a_real_browser_starts_nothing(start_marathon, look_at, seen, tmp_path, token):
    """By fetch, by beacon, by a form in a frame and by one of the page's own; from a file and from another server."""
    server = start_marathon(token=token)
    app = '{"id": "/evil", "cmd": "sleep 1000", "cpus": 0.1, "mem": 16}'
    page = tmp_path / "evil.html"
    page.write_text(PAGE % {"url": server.url, "app": app, "head": app[:-1] + ', "x": "', "tail": '"}'})

    async def scenario(opened, _seconds):
        for address in (page.as_uri(), f"{site}/evil.html"):
            seen.clear()
            await opened.ask("Page.navigate", url=address)
            await opened.until("window.attack && document.readyState === 'complete'", "the page is there")
            await opened.run("attack()")
            # Two fetches as text, what asks whether JSON may be sent, two beacons, and a form.
            await asyncio.to_thread(poll, lambda: len(seen) >= 6)
            await opened.run("setTimeout(() => {form.target = '_self'; form.submit()}, 0), 1")
            await asyncio.to_thread(poll, lambda: len(seen) >= 7)
            assert {status for _origin, status in seen} == {403}, seen
            assert {origin for origin, _status in seen} == {"null" if address.startswith("file:") else site}

    with site_of(tmp_path) as site:
        look_at(page, scenario)
    assert server.call("GET", "/v2/apps", headers=BEARER).json() == {"apps": []}
    assert server.call("POST", "/v2/apps", {"id": "/mine", **NEVER}, headers=BEARER).status_code == 201
