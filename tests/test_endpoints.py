"""The addresses of a ``bootstrap_servers``: their form."""

from __future__ import annotations

import pytest

from hydra.endpoints import Endpoint, parse_endpoints
from hydra.errors import UsageError


@pytest.mark.parametrize(
    ("text", "endpoints"),
    [
        ("kafka1:9092", [Endpoint("kafka1", 9092)]),
        ("127.0.0.1:1, b.example:65535", [Endpoint("127.0.0.1", 1), Endpoint("b.example", 65535)]),
        ("[::1]:9092", [Endpoint("::1", 9092)]),
    ],
)
def test_addresses_are_read(text, endpoints):
    assert list(parse_endpoints(text)) == endpoints


@pytest.mark.parametrize(
    "text", ["", "kafka1", "kafka1:", ":9092", "kafka1:0", "kafka1:65536", "a:1,,b:2", "::1:9092", "a:1;b:2", "a b:1"]
)
def test_what_is_no_address_is_named(text):
    with pytest.raises(UsageError, match="invalid host:port"):
        parse_endpoints(text)


@pytest.mark.parametrize(
    ("host", "text"), [("10.0.0.2", "10.0.0.2:9092"), ("::1", "[::1]:9092"), ("kafka-1.lab", "kafka-1.lab:9092")]
)
def test_an_address_as_text(host, text):
    assert str(Endpoint(host, 9092)) == text
