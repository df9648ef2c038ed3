"""The flags that commands share: one for each option, checked by the same code as hydra.ini, and one for each file."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from click.core import ParameterSource

from hydra.cli.help_page import METAVARS
from hydra.errors import OutputError, UsageError
from hydra.files.atomic_write import atomic_write, check_output
from hydra.files.own_descriptor import descriptor_of
from hydra.files.write_in_place import STDOUT
from hydra.options.options import OPTION_KINDS, Options, merged, parse_several
from hydra.options.parsers import Parse, dns_label, switch, whole
from hydra.options.reader import read_settings, with_kafka_config
from hydra.options.thresholds import METRICS
from hydra.sweep.plan import CLIENTS, MAX_CLIENTS, with_changes

if TYPE_CHECKING:
    from hydra.sweep.record import SavedRecord

F = TypeVar("F", bound=Callable[..., object])
Callback = Callable[[click.Context, click.Parameter, str | None], object]

KAFKA_NAMES: Mapping[str, str] = {
    "bootstrap_servers": "bootstrap_server",
    "consumer_max_buffer_size": "fetch_max_bytes",
    "fetch_wait_max_ms": "fetch_max_wait_ms",
}
"""What Kafka calls an option that has another name here; taken as a flag as well."""

FIRST_RUN = (
    "bootstrap_servers", "clients", "msg_rate", "msg_size", "test_duration", "partitions", "acks", "linger_ms",
    "threshold", "output", "report", "ui",
)  # fmt: skip
"""The flags that ``--help`` shows; ``--help-all`` shows all."""

FILES = {
    "report": "write a page with the plots to this file (HTML, on its own)",
    "csv": "write a row for each run to this file (CSV)",
    "junit": "write a test case for each point to this file (JUnit XML)",
    "live": "write the counts of the running test to this file, a line each time (JSON Lines)",
}

SERVED = {
    "ui": "show the running test on a page, for who has its link; on this port of 127.0.0.1, or any that is free",
    "metrics_port": "serve OpenMetrics of the running test on this port of 127.0.0.1, for Prometheus",
}


def with_flags(*flags: Callable[[F], F]) -> Callable[[F], F]:
    """A decorator that gives a command these flags, in this order."""
    return lambda command: functools.reduce(lambda made, flag: flag(made), reversed(flags), command)


def file_flags(command: F) -> F:
    """A decorator that gives a command the flags of FILES; ``--output`` is among the options."""
    return with_flags(*(click.option(f"--{name}", metavar=METAVARS[name], help=text) for name, text in FILES.items()))(
        command
    )


def output_flags(command: F) -> F:
    """A decorator that gives a command the flags of FILES and SERVED."""
    port: dict[str, Any] = {"callback": parsed_by(whole(0, 65535))}
    served = (
        click.option("--ui", metavar=METAVARS["ui"], help=SERVED["ui"], is_flag=False, flag_value="0", **port),
        click.option("--metrics_port", metavar=METAVARS["metrics_port"], help=SERVED["metrics_port"], **port),
    )
    return with_flags(file_flags, *served)(command)


def controller_flag(command: F) -> F:
    """A decorator that gives a command the flag for a controller in the cluster."""
    text = "start the controller in the cluster, too, by this service account of the namespace  [hydra]"
    flag = click.option("--kube_controller", metavar=METAVARS["kube_controller"], help=text, is_flag=False,
                        flag_value="hydra", callback=parsed_by(dns_label))  # fmt: skip
    return flag(command)


def parsed_by(parse: Parse) -> Callback:
    """A callback of click that makes the value of a flag that is no option of a run; None where it is not given."""

    def callback(_ctx: click.Context, param: click.Parameter, text: str | None) -> object:
        return None if text is None else parse_flag(str(param.name), text, parse)

    return callback


def parse_flag(name: str, text: str, parse: Parse) -> object:
    """The value of a flag that is no option of a run.

    Raises:
        UsageError: names the flag, its text and what it must be.
    """
    try:
        return parse(text.strip())
    except ValueError as error:
        raise UsageError(f"--{name} = {text[:80]!r} {error}") from error


def option_flags(*names: str) -> Callable[[F], F]:
    """A decorator that gives a command a flag for each of these options, or, where none is named, for all of them."""
    flags = [_flag(name) for name in METAVARS if name in (names or OPTION_KINDS)]
    if not names:
        text = "clients in all, in place of --total_sub_apps; in apps of --clients_per_app"
        number = parsed_by(whole(1, MAX_CLIENTS))
        flags.insert(0, click.option("--clients", metavar="N", help=text, callback=number))
    text = "settings; default: hydra.ini, where there is one"
    return with_flags(click.option("--config_file", metavar=METAVARS["config_file"], help=text), *flags)


def _flag(name: str) -> Callable[[F], F]:
    kind = OPTION_KINDS[name]
    default = Options.__dataclass_fields__[name].default
    fields: dict[str, Any] = {"metavar": METAVARS[name], "help": kind.text, "callback": _option}
    if kind.parse is switch:
        fields |= {"is_flag": False, "flag_value": "yes"}
    elif isinstance(default, tuple):
        fields |= {"multiple": True}
    elif default is not None:
        fields |= {"default": f"{default:g}" if isinstance(default, float) else str(default), "show_default": True}
    spellings = [f"--{spelling}" for spelling in (name, KAFKA_NAMES.get(name)) if spelling]
    return click.option(name, *spellings, **fields)


def _option(ctx: click.Context, param: click.Parameter, value: str | tuple[str, ...] | None) -> object:
    """An option's value; what the texts of one that was given several times say together."""
    if value is None or value == ():
        return None
    assert param.name is not None
    texts = [value] if isinstance(value, str) else value
    if param.name == "threshold" and ",".join(texts).strip().lower() == "help" and not ctx.resilient_parsing:
        _show_metrics(ctx)
    return parse_several(param.name, texts, origin=f"--{param.name}")


def _show_metrics(ctx: click.Context) -> NoReturn:
    formatter = ctx.make_formatter()
    formatter.write_text("A threshold is METRIC, one of < <= > >= == != and a number with its unit:")
    formatter.write_text("e2e_p99<50ms   loss==0   tx_rate>=0.95*asked")
    with formatter.section("Metrics"):
        formatter.write_dl([(f"{name} [{metric.unit}]", metric.text) for name, metric in METRICS.items()])
    click.echo(formatter.getvalue().rstrip("\n"))
    ctx.exit()


def given_flags(ctx: click.Context) -> dict[str, object]:
    """The values of the flags that stand on the command line, by the flag's name."""
    return {
        name: value
        for name, value in ctx.params.items()
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


def chosen_options(ctx: click.Context, *, under: Mapping[str, object] | None = None, for_a_run: bool = True) -> Options:
    """The options of a run: a command's flags, over what a plan or command sets, over hydra.ini, over defaults.

    Args:
        ctx: the command's.
        under: values by name that flags win over.
        for_a_run: whether they have to go together for a run.

    Raises:
        UsageError: names the flags, or the file, line and key.
    """
    given = given_flags(ctx)
    if CLIENTS in given and "total_sub_apps" in given:
        raise UsageError("--clients and --total_sub_apps are both set", hint="keep one")
    values = {name: value for name, value in given.items() if name in OPTION_KINDS}
    options = with_kafka_config(merged(read_settings(ctx.params["config_file"]).options, under or {}, values))
    changes = {CLIENTS: given[CLIENTS]} if CLIENTS in given else {}
    return with_changes(options, changes) if for_a_run else options


@dataclass(frozen=True)
class Outputs:
    """Where to write what; None: not at all."""

    output: str | None = None
    report: str | None = None
    csv: str | None = None
    junit: str | None = None
    live: str | None = None
    omb_result: str | None = None

    def write(self, saved: Sequence[tuple[str, SavedRecord]]) -> None:
        """Write the report, the CSV and the JUnit XML of these results, each with its name.

        Raises:
            OutputError: names all that could not be written; the others are.
        """
        if not (self.report or self.csv or self.junit):
            return
        from hydra.report.contents import ReportContents, collect
        from hydra.report.exports import csv_text, junit_xml
        from hydra.report.page import page

        contents = collect(saved)
        errors = OutputErrors()
        make: Callable[[ReportContents], str | bytes]
        for flag, make in (("report", page), ("csv", csv_text), ("junit", junit_xml)):
            path = getattr(self, flag)
            if path is not None:
                with errors.kept():
                    write_output(flag, path, make(contents))
        errors.raise_all()

    @property
    def on_stdout(self) -> bool:
        """Whether a file is written to stdout, so that what is told to people goes to stderr."""
        return any(path == STDOUT or descriptor_of(Path(path)) == 1 for path in vars(self).values() if path)


class OutputErrors:
    """The files of a command that could not be written: they are told of together, when all others have been.

    ``with errors.kept():`` is around the writing of each; ``raise_all`` comes after the last one.
    """

    def __init__(self) -> None:
        self._errors: list[OutputError] = []

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the error of this block for later."""
        try:
            yield
        except OutputError as error:
            self.add(error)

    def add(self, error: OutputError) -> None:
        """Keep one for later."""
        self._errors.append(error)

    def raise_all(self) -> None:
        """Tell of all of them.

        Raises:
            OutputError: if there is one.
        """
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            hints = dict.fromkeys(error.hint for error in self._errors if error.hint)
            raise OutputError("; ".join(error.message for error in self._errors), hint="; ".join(hints))


@contextlib.contextmanager
def told_beside(outputs: Outputs) -> Iterator[None]:
    """Within this block what is printed goes to stderr where stdout is for one of the files."""
    with contextlib.redirect_stdout(sys.stderr) if outputs.on_stdout else contextlib.nullcontext():
        yield


def write_output(flag: str, path: str, content: str | bytes) -> None:
    """Write the file that a flag names.

    Raises:
        OutputError: names the flag and the path.
    """
    data = content if isinstance(content, bytes) else content.encode("utf-8", errors="backslashreplace")
    atomic_write(Path(path), data, origin=f"--{flag}={path}")


def parse_outputs(ctx: click.Context, options: Options | None = None, *, results: Sequence[str] = ()) -> Outputs:
    """What the flags of a command say, once it is seen that each file can be written.

    Args:
        ctx: the command's.
        options: of a command whose ``--output`` is an option, so that hydra.ini or a plan may say it, too.
        results: files of results, and folders of sweeps, that the command reads or keeps.

    Raises:
        OutputError: names every file that cannot, with its flag.
        UsageError: two of them are one file, or stdout; or one of them is a result's.
    """
    named = {name: ctx.params.get(name) for name in Outputs.__dataclass_fields__}
    if options is not None:
        named["output"] = options.output
    outputs = Outputs(**named)
    errors = OutputErrors()
    for flag, path in vars(outputs).items():
        if path is not None:
            with errors.kept():
                check_output(path, flag)
    errors.raise_all()
    _check_places(outputs, results)
    return outputs


def _check_places(outputs: Outputs, results: Sequence[str]) -> None:
    """Refuse files of which the second would replace the first, or one that would replace a result."""
    flags: dict[Path, str] = {}
    for flag, path in vars(outputs).items():
        if path is None or (place := _place(path)) is None:
            continue
        named = f"--{flag}={path}"
        if place in flags:
            where = "both stdout" if place == Path(STDOUT) else "the same file"
            raise UsageError(f"{flags[place]} and {named} are {where}", hint="name another one")
        flags[place] = named
    if not (flags and results):
        return
    from hydra.sweep.folder import is_file_of

    for result in results:
        kept = Path(os.path.realpath(result))
        for place, named in flags.items():
            if is_file_of(place, kept):
                raise UsageError(f"{named} would replace a result ({result})", hint="name another file")


def _place(path: str) -> Path | None:
    """Which file a path leads to; ``-`` for stdout, None for another descriptor, a device or a pipe."""
    if path == STDOUT or descriptor_of(Path(path)) == 1:
        return Path(STDOUT)
    place = Path(os.path.realpath(path))
    return None if place.exists() and not place.is_file() else place
