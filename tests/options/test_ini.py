"""hydra.ini: what is taken, and errors that name file, line and key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra.errors import ConfigurationError
from hydra.options.ini import Settings, parse_ini

ORIGINAL = """\
[marathon]
ip: 10.10.10.10
port: 8080

[mesos]
ip: 10.10.10.11
port: 5050
cluster0: slave_id.slave-set1_0
cluster1: slave_id.slave-set2_0

[kafka]
ip: 10.10.10.12
port: 9092

[hydra]
port: 9800
dev: eth0
ip: 127.0.0.1
"""

EVERY_SECTION = """\
# a comment
[marathon]
url = http://10.0.0.2:8080
app_prefix = team-a/g1

; another one
[kafka]
bootstrap_servers = 10.0.0.3:9092, 10.0.0.4:9092
acks = all

[hydra]
msg_rate = 2000
keep_running = yes
"""


def test_the_originals_file_is_taken():
    settings = parse_ini(ORIGINAL, name="hydra.ini")
    assert settings.options == {
        "marathon_url": "http://10.10.10.10:8080",
        "bootstrap_servers": "10.10.10.12:9092",
        "mesos_url": "http://10.10.10.11:5050",
        "cluster0": "slave_id.slave-set1_0",
        "cluster1": "slave_id.slave-set2_0",
        "appserver_address": "eth0:9800",
    }
    assert settings.mesos == {
        "ip": "10.10.10.11",
        "port": "5050",
        "cluster0": "slave_id.slave-set1_0",
        "cluster1": "slave_id.slave-set2_0",
    }
    assert settings.appserver == {"port": "9800", "dev": "eth0", "ip": "127.0.0.1"}


def test_an_address_of_the_code_server_needs_no_port():
    assert parse_ini("[hydra]\nip = 10.0.0.5\n", name="x").options == {"appserver_address": "10.0.0.5"}


def test_several_addresses_of_marathon_are_taken():
    settings = parse_ini("[marathon]\nurl = http://a:8080, https://b/\n", name="x")
    assert settings.options == {"marathon_url": "http://a:8080,https://b"}


def test_options_stand_in_their_sections():
    assert parse_ini(EVERY_SECTION, name="hydra.ini").options == {
        "marathon_url": "http://10.0.0.2:8080",
        "app_prefix": "team-a/g1",
        "bootstrap_servers": "10.0.0.3:9092,10.0.0.4:9092",
        "acks": "all",
        "msg_rate": 2000.0,
        "keep_running": True,
    }


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "[kafka]\n", "[hydra]\n; nothing\n[kafka]\n"])
def test_a_file_may_say_nothing(text):
    assert parse_ini(text, name="x") == Settings()


@pytest.mark.parametrize(
    "text",
    [
        "[kafka]\r\nacks = 0\r\nlinger_ms = 7\r\n",
        "[kafka]\n   acks   =   0   \n   linger_ms: 7\n",
        "[kafka]\n\tacks=0\n\tlinger_ms=7",
        "[kafka]\nACKS = 0\nLinger_MS = 7\n",
        "\n\n[kafka]\n\nacks = 0\n\n# between\n\nlinger_ms = 7\n",
    ],
)
def test_line_ends_spaces_indentation_and_case_do_not_matter(text):
    assert parse_ini(text, name="x").options == {"acks": "0", "linger_ms": 7}


def test_a_percent_sign_is_a_percent_sign():
    assert parse_ini("[hydra]\noutput = %(here)s%d.json\n", name="x").options == {"output": "%(here)s%d.json"}


@pytest.mark.parametrize("word", ["", "local", "embedded"])
def test_an_address_that_is_one_of_ours_is_left_unset(word):
    text = f"[marathon]\nurl = {word}\n[kafka]\nbootstrap_servers = {word}\n"
    assert parse_ini(text, name="x").options == {}


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("[kafka]\nacks = 2\n", "x.ini:2: [kafka] acks = '2' must be 0, 1 or all"),
        ("[kafka]\r\n\r\nacks = 2\r\n", "x.ini:3: [kafka] acks = '2' must be 0, 1 or all"),
        ("# c\n\n[kafka]\n  linger_ms = 5\n  acks = 2\n", "x.ini:5: [kafka] acks = '2' must be 0, 1 or all"),
        ("[kafka]\nacks =\n", "x.ini:2: [kafka] acks = '' must be"),
        ("[hydra]\nmsg_rate = nan\n", "x.ini:2: [hydra] msg_rate = 'nan' must be a number"),
        ("[hydra]\nmsg_rate = 1000 ; fast\n", "x.ini:2: [hydra] msg_rate = '1000 ; fast' must be a number"),
        ("[hydra]\nmsg_rat = 1\n", "x.ini:2: [hydra] msg_rat is not known"),
        ("[kafka]\nmsg_rate = 1\n", "x.ini:2: [kafka] msg_rate is not known"),
        ("[kafka]\nurl = http://a\n", "x.ini:2: [kafka] url is not known"),
        ("[kafka]\n[rabbitmq]\nip = 1\n", "x.ini:2: [rabbitmq] is not a section"),
        ("[DEFAULT]\nacks = 1\n", "x.ini:1: [DEFAULT] is not a section"),
        ("[Kafka]\nacks = 1\n", "x.ini:1: [Kafka] is not a section"),
        ("acks = 1\n", "x.ini:1: 'acks = 1' is a key before any [section]"),
        ("[kafka]\nacks = 1\nlinger_ms = 5\nacks = 0\n", "x.ini:4: [kafka] acks is a duplicate key"),
        ("[kafka]\nacks = 1\nACKS = 0\n", "x.ini:3: [kafka] acks is a duplicate key"),
        ("[kafka]\nacks = 1\n\n[kafka]\nlinger_ms = 5\n", "x.ini:4: [kafka] is a duplicate section"),
        ("[kafka]\nacks\n", "x.ini:2: "),
        ("[kafka\nacks = 1\n", "x.ini:1: "),
        ("[kafka]\n= 1\n", "x.ini:2: "),
        ("[marathon]\nip = 10.0.0.2\n", "x.ini:2: [marathon] ip is set without port"),
        ("[kafka]\n\nport = 9092\n", "x.ini:3: [kafka] port is set without ip"),
        ("[kafka]\nip = a\nport = http\n", "x.ini:3: [kafka] port = 'http' must be a whole number"),
        ("[kafka]\nip = a\nport = 0\n", "x.ini:3: [kafka] port = '0' must be a whole number"),
        ("[mesos]\nport = 65536\n", "x.ini:2: [mesos] port = '65536' must be a whole number"),
        ("[marathon]\nip = admin:secret@m\n", "x.ini:2: [marathon] ip = '***@m' must be an address or a host name"),
        ("[mesos]\nip =\n", "x.ini:2: [mesos] ip = '' must be an address or a host name"),
        ("[hydra]\ndev = eth 0\n", "x.ini:2: [hydra] dev = 'eth 0' must be an address"),
        ("[kafka]\ndev = eth0\n", "x.ini:2: [kafka] dev is not known"),
        ("[mesos]\ncluster0 = x\n", "x.ini:2: [mesos] cluster0 = 'x' must be attribute.value"),
        ("[mesos]\ncluster7 = .x\n", "x.ini:2: [mesos] cluster7 = '.x' must be attribute.value"),
        ("[mesos]\nip = a\n", "x.ini:2: [mesos] ip is set without port"),
        ("[mesos]\nurl = http://a\nip = a\nport = 5050\n", "x.ini:3: [mesos] ip and url are both set"),
        ("[hydra]\nport = 9800\n", "x.ini:2: [hydra] port is set without dev"),
        ("[hydra]\ndev = a\nappserver_address = a\n", "x.ini:2: [hydra] dev and appserver_address are both set"),
        ("[hydra]\ndev = a:b\n", "x.ini:2: [hydra] dev = 'a:b' must be an address or an interface"),
        ("[mesos]\ncluster = a.b\n", "x.ini:2: [mesos] cluster is not known"),
        ("[mesos]\nmsg_rate = 1\n", "x.ini:2: [mesos] msg_rate is not known"),
        ("[kafka]\nacks = 1\n  linger_ms = 5\n", "x.ini:2: [kafka] acks: continuation lines are not supported"),
        ("[kafka]\nip = ::1\nport = 9092\n", "x.ini:2: [kafka] ip = '::1:9092' must be host:port"),
        (
            "[marathon]\nurl = http://a\nip = a\nport = 8080\n",
            "x.ini:3: [marathon] ip and url are both set",
        ),
        (
            "[kafka]\nbootstrap_servers = a:1\nip = a\nport = 8080\n",
            "x.ini:3: [kafka] ip and bootstrap_servers are both set",
        ),
        ("[marathon]\nurl = http://me:secret@a\n", "x.ini:2: [marathon] url"),
    ],
)
def test_an_error_names_file_line_and_key(text, start):
    with pytest.raises(ConfigurationError) as caught:
        parse_ini(text, name="x.ini")
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)


def test_a_key_behind_its_heading_is_not_passed_over():
    with pytest.raises(ConfigurationError, match=r"^x\.ini:1: "):
        parse_ini("[kafka] acks = 0\n", name="x.ini")


def test_an_indented_key_under_a_path_is_not_swallowed_by_it():
    with pytest.raises(ConfigurationError, match=r"^x\.ini:[23]: "):
        parse_ini("[hydra]\noutput = result.json\n  keep_running = yes\n", name="x.ini")


def test_a_password_in_a_url_is_not_shown_again():
    with pytest.raises(ConfigurationError) as caught:
        parse_ini("[marathon]\nurl = http://me:secret@a\n", name="x.ini")
    assert "secret" not in str(caught.value)


LINES = st.lists(
    st.one_of(
        st.sampled_from(
            ["[kafka]", "[hydra]", "[mesos]", "[marathon]", "acks = 1", "acks", " acks = 0", "ip = a", "port = 1", "=",
             "[", "]", "[]", "# x", "url = local", "output = é", "msg_rate = 1e3", "\x0c", "\0"]
        ),
        st.text(max_size=12),
    )
)  # fmt: skip


@given(LINES, st.sampled_from(["\n", "\r\n", "\r"]))
def test_whatever_the_text_it_gives_settings_or_one_sentence(lines, line_end):
    try:
        settings = parse_ini(line_end.join(lines), name="x.ini")
    except ConfigurationError as error:
        assert str(error).startswith("x.ini:")
    else:
        assert isinstance(settings, Settings)


def test_broker_properties_may_go_on_in_indented_lines():
    text = "[kafka]\nbroker_property =\n  num.io.threads=4, queued.max.requests = 7\n  a=x,y\nacks = all\n"
    settings = parse_ini(text, name="hydra.ini")
    assert settings.options == {
        "broker_property": ("num.io.threads=4", "queued.max.requests=7", "a=x,y"),
        "acks": "all",
    }


def test_a_broker_property_that_is_none_is_named_by_its_line():
    with pytest.raises(
        ConfigurationError, match=r"^hydra\.ini:2: \[kafka\] broker_property = 'fast' must be NAME=VALUE"
    ):
        parse_ini("[kafka]\nbroker_property = fast\n", name="hydra.ini")
