"""Where options come from: flags or the attributes of the batch API, over hydra.ini, over defaults."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hydra.errors import ConfigurationError, UsageError
from hydra.files.bounded_read import read_bounded
from hydra.files.private_file import check_private, read_file
from hydra.options.client_properties import ClientProperties, parse_client_properties
from hydra.options.ini import Settings, parse_ini
from hydra.options.option_checks import checked
from hydra.options.options import OPTION_KINDS, Options, merged, parse_several

DEFAULT_CONFIG_FILE = "hydra.ini"
MAX_CONFIG_BYTES = 1024 * 1024


def read_settings(config_file: str | None) -> Settings:
    """What the configuration file says; unless one is named: hydra.ini in the current folder, which may be missing.

    Raises:
        ConfigurationError: missing (when it was asked for), unreadable, or wrong.
    """
    path = Path(config_file or DEFAULT_CONFIG_FILE)
    try:
        text = read_text(path, kind="hydra.ini")
    except FileNotFoundError as error:
        if config_file is None:
            return Settings()
        raise ConfigurationError(f"--config_file={config_file} does not exist") from error
    return parse_ini(text, name=str(path))


def read_text(path: Path, *, kind: str) -> str:
    """The text of a file of settings.

    Raises:
        FileNotFoundError: it is not there.
        ConfigurationError: it cannot be read, or is no such file.
    """
    try:
        data = read_bounded(path, MAX_CONFIG_BYTES)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"{str(path)!r} cannot be read ({reason})", hint=f"is it a {kind}?") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line_number = data[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{path}:{line_number}: not UTF-8 text") from error


def read_client_properties(path: str) -> ClientProperties:
    """The file that ``--kafka_config`` names.

    Raises:
        UsageError: it cannot be read, may be read by others although it holds secrets, or is wrong.
    """
    origin = f"--kafka_config={path}"
    try:
        text = read_file(path, origin).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{origin} is not UTF-8 text", hint="is it a client properties file?") from error
    found = parse_client_properties(text, name=path)
    if found.has_secrets:
        check_private(path, origin)
    return found


def with_kafka_config(options: Options) -> Options:
    """The same options, on the brokers that ``kafka_config`` names where nothing else names any.

    Raises:
        UsageError: as ``read_client_properties``.
    """
    if options.kafka_config is None or options.bootstrap_servers is not None:
        return options
    servers = read_client_properties(options.kafka_config).bootstrap_servers
    return replace(options, bootstrap_servers=servers or None)


def options_from_attributes(source: object) -> Options:
    """A snapshot of the batch API's options object: its attributes, over hydra.ini, over defaults.

    Attributes that are no options are ignored, unless they are nearly one.

    Raises:
        UsageError: names the attribute, or the file, line and key.
    """
    values: dict[str, object] = {}
    for name in (name for name in dir(source) if not name.startswith("_")):
        value = getattr(source, name)
        if name == "config_file" or callable(value):
            continue
        if name not in OPTION_KINDS:
            if near := difflib.get_close_matches(name, OPTION_KINDS, n=1, cutoff=0.85):
                raise UsageError(f"options.{name} is no option", hint=f"did you mean {near[0]}?")
            continue
        if value is not None:
            if isinstance(value, Mapping):
                value = [f"{key}={each}" for key, each in value.items()]
            texts = list(map(str, value)) if isinstance(value, (list, tuple)) else [str(value)]
            values[name] = parse_several(name, texts, origin=f"options.{name}")
    config_file = getattr(source, "config_file", None)
    # The notebook names hydra.ini as a matter of course: it may be missing, as on a command line without the flag.
    named = str(config_file) if config_file and str(config_file) != DEFAULT_CONFIG_FILE else None
    return checked(with_kafka_config(merged(read_settings(named).options, values)))
