"""What fills a run's records, and what compresses them, before anything starts."""

import os

import pytest

from hydra.errors import UsageError
from hydra.kafkatest import load
from hydra.kafkatest.load import PAYLOAD_BYTES, check_load, read_payload
from hydra.options.options import Options


@pytest.mark.parametrize("payload", ["zeros", "random"])
def test_only_a_file_is_read(payload):
    assert read_payload(Options(payload=payload)) == b""


def test_a_files_content_fills_the_records(tmp_path):
    (tmp_path / "records").write_bytes(b"some records")
    assert read_payload(Options(payload=str(tmp_path / "records"))) == b"some records"


@pytest.mark.parametrize("kind", ["absent", "empty", "large", "folder", "pipe"])
def test_a_file_that_cannot_fill_records_is_refused_in_a_line(tmp_path, kind):
    path = tmp_path / "records"
    if kind == "empty":
        path.touch()
    elif kind == "large":
        path.write_bytes(bytes(PAYLOAD_BYTES + 1))
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(UsageError) as caught:
        check_load(Options(payload=str(path)))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("codec", "package"), [("snappy", "python-snappy"), ("lz4", "lz4"), ("zstd", "zstandard")])
@pytest.mark.parametrize("role", ["pub_driver", "sub_driver"])
def test_a_codec_that_kafka_python_has_no_package_for_is_refused(monkeypatch, codec, package, role):
    monkeypatch.setattr(load, "find_spec", lambda _name: None)
    options = Options(compression=codec, **{"pub_driver": "wire", role: "kafka-python"})
    with pytest.raises(UsageError, match=f"--{role}=kafka-python needs the package {package}"):
        check_load(options)
    check_load(Options(compression=codec, pub_driver="wire"))
    check_load(Options(compression="gzip", pub_driver="kafka-python", sub_driver="kafka-python"))
