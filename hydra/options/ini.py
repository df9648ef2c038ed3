"""hydra.ini: text to settings. Five sections, [marathon] [mesos] [kubernetes] [kafka] [hydra].

Beside the options of a run (options/options.py) the keys of older files are taken: an ``ip`` and ``port`` pair in
[marathon] is the ``marathon_url``, in [mesos] the ``mesos_url`` and in [kafka] the ``bootstrap_servers``; ``dev`` (or
``ip``) and ``port`` in [hydra] are the ``appserver_address``. The ``clusterN`` attributes of [mesos] are kept as well.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hydra.errors import ConfigurationError, UsageError
from hydra.options import parsers as kind
from hydra.options.options import OPTION_KINDS, parse_option, quotable

SECTIONS = ("marathon", "mesos", "kubernetes", "kafka", "hydra")

_SHORT_NAMES = {("marathon", "url"): "marathon_url", ("mesos", "url"): "mesos_url"}
_ADDRESSED = {
    "marathon": ("marathon_url", "http://"),
    "mesos": ("mesos_url", "http://"),
    "kafka": ("bootstrap_servers", ""),
    "hydra": ("appserver_address", ""),
}
"""By section: the option that its host and port are, and what that begins with."""

_PORT = kind.whole(1, 65_535)
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]+", re.ASCII)
_CLUSTER_KEY = re.compile(r"cluster[0-9]+")
_BEHIND_HEADING = re.compile(r"\[[^\]]+\]\s*[^\s#;]")
"""configparser ignores such text silently."""

_UNSET = {"", "local", "embedded"}
_ADDRESSES = {kind.http_urls, kind.http_url, kind.host_ports}
"""Kinds of option that such a word leaves unset."""


@dataclass(frozen=True)
class Settings:
    """What a hydra.ini says."""

    options: Mapping[str, object] = field(default_factory=dict)
    """Values by the option's name."""
    mesos: Mapping[str, str] = field(default_factory=dict)
    """The address of Mesos and the agent attributes of its clusters, as they stand there."""
    appserver: Mapping[str, str] = field(default_factory=dict)
    """``ip``, ``port`` and ``dev`` of [hydra]: where the code server listens."""


def parse_ini(text: str, *, name: str) -> Settings:
    """Read the text of the hydra.ini of this name; raises ConfigurationError: names file, line and key."""
    parser = configparser.ConfigParser(interpolation=None, strict=True, default_section="\0")
    try:
        parser.read_string(text, source=name)
    except configparser.Error as error:
        raise ConfigurationError(_syntax(error, name)) from error
    for line_number, line in enumerate(text.splitlines(), start=1):
        if _BEHIND_HEADING.match(line):
            raise ConfigurationError(f"{name}:{line_number}: {line.strip()!r} has text after its [section]")
    return _Reader(parser, text, name).settings()


def _syntax(error: configparser.Error, name: str) -> str:
    """One line out of configparser's errors, which run over several."""
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"{name}:{error.lineno}: {error.line.strip()!r} is a key before any [section]"
    if isinstance(error, configparser.DuplicateOptionError):
        return f"{name}:{error.lineno}: [{error.section}] {error.option} is a duplicate key"
    if isinstance(error, configparser.DuplicateSectionError):
        return f"{name}:{error.lineno}: [{error.section}] is a duplicate section"
    if isinstance(error, configparser.ParsingError) and error.errors:
        line_number, line = error.errors[0]
        return f"{name}:{line_number}: {str(line).strip()} is neither [section] nor key = value"
    return f"{name}: {' '.join(str(error).split())}"


class _Reader:
    """Reads one parsed file; knows the line of every key."""

    def __init__(self, parser: configparser.ConfigParser, text: str, name: str) -> None:
        self._parser = parser
        self._name = name
        self._lines = _key_lines(text)

    def settings(self) -> Settings:
        options: dict[str, object] = {}
        kept: dict[str, dict[str, str]] = {"mesos": {}, "hydra": {}}
        for section in self._parser.sections():
            if section not in SECTIONS:
                where = f"{self._name}:{self._lines.get((section, ''), 0)}"
                raise ConfigurationError(f"{where}: [{section}] is not a section", hint=f"one of {', '.join(SECTIONS)}")
            for key, value in self._parser.items(section):
                option = self._option(section, key)
                several = option is not None and OPTION_KINDS[option].parse is kind.properties
                if "\n" in value and not several:
                    raise ConfigurationError(
                        f"{self._origin(section, key)}: continuation lines are not supported",
                        hint="begin each key at the margin",
                    )
                if section == "mesos" and _CLUSTER_KEY.fullmatch(key):
                    kept["mesos"][key] = value
                    attribute = self._value(section, key, option or "cluster0", value)
                    if option is not None:
                        options[option] = attribute
                elif option is not None:
                    if not (OPTION_KINDS[option].parse in _ADDRESSES and value in _UNSET):
                        options[option] = self._value(section, key, option, value)
                elif self._kept(section, key, value):
                    kept.setdefault(section, {})[key] = value
                else:
                    raise ConfigurationError(f"{self._origin(section, key)} is not known", hint="see docs/options.md")
        for section in _ADDRESSED:
            self._add_address(section, kept.get(section, {}), options)
        return Settings(options=options, mesos=kept["mesos"], appserver=kept["hydra"])

    def _option(self, section: str, key: str) -> str | None:
        name = _SHORT_NAMES.get((section, key), key)
        return name if name in OPTION_KINDS and OPTION_KINDS[name].section == section else None

    def _value(self, section: str, key: str, option: str, value: str) -> object:
        try:
            return parse_option(option, value, origin=self._origin(section, key))
        except UsageError as error:
            raise ConfigurationError(error.message) from error

    def _kept(self, section: str, key: str, value: str) -> bool:
        """Whether this is a key of older files that is not an option; its value is checked too."""
        if key == "port":
            try:
                _PORT(value)
            except ValueError as error:
                raise ConfigurationError(f"{self._origin(section, key)} = {quotable(value)!r} {error}") from error
            return True
        if key == "ip" or (key == "dev" and section == "hydra"):
            if not _HOST.fullmatch(value):
                text = f"{self._origin(section, key)} = {quotable(value)!r} must be an address or a host name"
                raise ConfigurationError(text)
            return True
        return False

    def _add_address(self, section: str, kept: Mapping[str, str], options: dict[str, object]) -> None:
        """Make an option of ip (in [hydra] rather dev) and port, which only [hydra] may leave out."""
        option, scheme = _ADDRESSED[section]
        key = "dev" if "dev" in kept else "ip"
        if key not in kept:
            if "port" in kept:
                missing = "dev" if section == "hydra" else "ip"
                raise ConfigurationError(f"{self._origin(section, 'port')} is set without {missing}")
            return
        if "port" not in kept and section != "hydra":
            raise ConfigurationError(f"{self._origin(section, key)} is set without port")
        if option in options:
            other = option.removeprefix(f"{section}_")
            raise ConfigurationError(f"{self._origin(section, key)} and {other} are both set", hint="keep one")
        port = f":{kept['port']}" if "port" in kept else ""
        options[option] = self._value(section, key, option, f"{scheme}{kept[key]}{port}")

    def _origin(self, section: str, key: str) -> str:
        return f"{self._name}:{self._lines.get((section, key), 0)}: [{section}] {key}"


def _key_lines(text: str) -> dict[tuple[str, str], int]:
    """Line numbers by (section, key), and by (section, "") for its heading; configparser keeps none."""
    lines: dict[tuple[str, str], int] = {}
    section = ""
    for line_number, line in enumerate(text.splitlines(), start=1):
        if heading := configparser.ConfigParser.SECTCRE.match(line.strip()):
            section = heading["header"]
            lines.setdefault((section, ""), line_number)
        elif line.lstrip()[:1] not in {"#", ";"} and (pair := configparser.ConfigParser.OPTCRE.match(line)):
            lines.setdefault((section, pair["option"].strip().lower()), line_number)
    return lines
