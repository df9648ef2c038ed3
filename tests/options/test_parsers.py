"""How text becomes a value: what is taken, and what is refused in which words."""

import pytest

from hydra.options import parsers as kind
from hydra.options.parsers import AgentSpec, parse_agents

LONG_PATH = "/srv/" + "x" * 300


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (kind.whole(1, 100), "1", 1),
        (kind.whole(1, 100), "100", 100),
        (kind.whole(1, 100), "+7", 7),
        (kind.whole(1, 100), "007", 7),
        (kind.whole(-5, 5), "-5", -5),
        (kind.number(0.1, 10), "0.1", 0.1),
        (kind.number(0.1, 10), "10", 10.0),
        (kind.number(0.1, 10), "1e0", 1.0),
        (kind.number(0.1, 10), ".5", 0.5),
        (kind.number(0.1, 10), "5.", 5.0),
        (kind.choice("0", "1", "all"), "ALL", "all"),
        (kind.choice("wire", "kafka-python"), "Kafka_Python", "kafka-python"),
        (kind.switch, "yes", True),
        (kind.switch, "On", True),
        (kind.switch, "TRUE", True),
        (kind.switch, "1", True),
        (kind.switch, "no", False),
        (kind.switch, "Off", False),
        (kind.switch, "false", False),
        (kind.switch, "0", False),
        (kind.path, "result.json", "result.json"),
        (kind.path, LONG_PATH, LONG_PATH),
        (kind.path, "läuft gut.json", "läuft gut.json"),
        (kind.host_ports, "10.0.0.2:9092", "10.0.0.2:9092"),
        (kind.host_ports, "a:1, b-c.d_e:65535", "a:1,b-c.d_e:65535"),
        (kind.host_ports, "[::1]:9092", "[::1]:9092"),
        (kind.http_url, "http://10.0.0.2:8080", "http://10.0.0.2:8080"),
        (kind.http_url, "https://m.lab/marathon/", "https://m.lab/marathon"),
        (kind.http_url, "http://[::1]:8080", "http://[::1]:8080"),
        (kind.app_group, "g1", "g1"),
        (kind.app_group, "/g1/", "g1"),
        (kind.app_group, "team-a/g1", "team-a/g1"),
    ],
)
def test_taken(parse, text, value):
    found = parse(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["", "0", "101", "-1", "1.5", "1e2", "abc", "\u0661", "1_0", "0x1", " 1", "9" * 400, "NaN"]
)
def test_no_whole_number(text):
    with pytest.raises(ValueError, match=r"^must be a whole number from 1 to 100$"):
        kind.whole(1, 100)(text)


def test_a_limit_can_say_why():
    with pytest.raises(ValueError, match=r"from 14 to 20 \(because\)$"):
        kind.whole(14, 20, "because")("13")


@pytest.mark.parametrize(
    "text", ["", "0", "0.09", "10.1", "-1", "nan", "inf", "-inf", "1e400", "1e-400", "1,5", "1_0", "\u0663", "1 s", "."]
)
def test_no_number(text):
    with pytest.raises(ValueError, match=r"^must be a number from 0\.1 to 10$"):
        kind.number(0.1, 10)(text)


@pytest.mark.parametrize("text", ["", "2", "al", "all 1", "-1"])
def test_no_choice(text):
    with pytest.raises(ValueError, match=r"^must be 0, 1 or all$"):
        kind.choice("0", "1", "all")(text)


@pytest.mark.parametrize("text", ["", "2", "y", "maybe", "yes no"])
def test_no_switch(text):
    with pytest.raises(ValueError, match=r"^must be yes or no$"):
        kind.switch(text)


@pytest.mark.parametrize("text", ["", "a\0b"])
def test_no_path(text):
    with pytest.raises(ValueError, match=r"^must be a path$"):
        kind.path(text)


@pytest.mark.parametrize(
    "text",
    ["", "a", "a:", ":9092", "a:0", "a:65536", "a:99999999", "a:1,", ",a:1", "a b:1", "http://a:1", "::1:9092", "ä:1",
     "a:1;b:2", "a:1\nb:2", "a:-1", "u@a:1"],
)  # fmt: skip
def test_no_host_and_port(text):
    with pytest.raises(ValueError, match=r"^must be host:port"):
        kind.host_ports(text)


@pytest.mark.parametrize(
    "text", ["", "10.0.0.2:8080", "ftp://a", "http://", "http:///x", "HTTP//a", "http://a b", "http://ä", "http://a\n"]
)
def test_no_url(text):
    with pytest.raises(ValueError, match=r"^must be a URL such as http://10\.0\.0\.2:8080$"):
        kind.http_url(text)


@pytest.mark.parametrize("text", ["http://:8080", "http://a:99999", "http://a:port", "http://::1:8080", "http://a:0"])
def test_a_url_whose_host_or_port_cannot_be(text):
    with pytest.raises(ValueError, match=r"^must be a URL such as http://10\.0\.0\.2:8080$"):
        kind.http_url(text)


@pytest.mark.parametrize("text", ["http://user:secret@a:8080", "http://user@a"])
def test_a_url_carries_no_password(text):
    with pytest.raises(ValueError, match=r"^must not carry a user name or password$"):
        kind.http_url(text)


@pytest.mark.parametrize("text", ["", "/", "G1", "g 1", "g1//g2", "-g1", "g1-", "g_1", "../x", "g1\n", "ü"])
def test_no_app_group(text):
    with pytest.raises(ValueError, match=r"^must be made of lower case letters, digits and dashes"):
        kind.app_group(text)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", ()),
        ("num.io.threads=4", ("num.io.threads=4",)),
        (" num.io.threads = 4 , queued.max.requests=7,", ("num.io.threads=4", "queued.max.requests=7")),
        ("a=1\n  b=2\n\nc=3,d=4", ("a=1", "b=2", "c=3", "d=4")),
        ("sasl.enabled.mechanisms=PLAIN,GSSAPI,a=1", ("sasl.enabled.mechanisms=PLAIN,GSSAPI", "a=1")),
        ("sasl.jaas.config=x y=z;", ("sasl.jaas.config=x y=z;",)),
        ("compression.type=", ("compression.type=",)),
    ],
)
def test_properties(text, values):
    assert kind.properties(text) == values


@pytest.mark.parametrize("text", ["num.io.threads", "=4", "a=1\nb", "-x=1", "a b=1", "4"])
def test_no_properties(text):
    with pytest.raises(ValueError, match=r"^must be NAME=VALUE, such as num\.io\.threads=4$"):
        kind.properties(text)


def test_a_property_that_is_said_twice():
    with pytest.raises(ValueError, match=r"^names a\.b twice$"):
        kind.properties("a.b=1,c=2,a.b=3")


def test_agents_are_read():
    first, second = parse_agents("127.0.0.1 slave_id:slave-set1_0 zone:x:y, 127.0.0.2 cpus:2.5 mem:512")
    assert first == AgentSpec("127.0.0.1", {"slave_id": "slave-set1_0", "zone": "x:y"})
    assert second == AgentSpec("127.0.0.2", {}, 2.5, 512)


@pytest.mark.parametrize(
    "text",
    ["", "here", "127.0.0.1,", "127.0.0.1, 127.0.0.1", "127.0.0.1 rack", "127.0.0.1 rack:a rack:b", "127.0.0.1 cpus:no",
     "127.0.0.1 mem:0", "127.0.0.1 hostname:x", "127.0.0.1 :x"],
)  # fmt: skip
def test_agents_that_make_no_sense_are_refused(text):
    with pytest.raises(ValueError, match=r"must be agents|twice|wanted"):
        parse_agents(text)
