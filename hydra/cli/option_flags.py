"""Flags out of the table of options: one for each, checked by the same code as hydra.ini and the batch API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import click
from click.core import ParameterSource

from hydra.cli.help_page import METAVARS
from hydra.errors import UsageError
from hydra.options.options import OPTION_KINDS, Options, merged, parse_option
from hydra.options.parsers import Parse, switch, whole
from hydra.options.reader import read_settings
from hydra.options.thresholds import METRICS
from hydra.sweep.plan import CLIENTS, MAX_CLIENTS, with_changes

F = TypeVar("F", bound=Callable[..., object])

KAFKA_NAMES: Mapping[str, str] = {
    "consumer_max_buffer_size": "fetch_max_bytes",
    "fetch_wait_max_ms": "fetch_max_wait_ms",
}
"""What Kafka calls an option that has another name here; taken as a flag as well."""

FIRST_RUN = (
    "bootstrap_servers", "clients", "msg_rate", "msg_size", "test_duration", "partitions", "acks", "linger_ms",
    "threshold", "output", "report",
)  # fmt: skip
"""The flags that ``--help`` shows; ``--help-all`` shows all."""


Callback = Callable[[click.Context, click.Parameter, str | None], object]


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

    def decorate(command: F) -> F:
        for flag in reversed(flags):
            command = flag(command)
        config = click.option(
            "--config_file", metavar=METAVARS["config_file"], help="settings; default: hydra.ini, where there is one"
        )
        return config(command)

    return decorate


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
    """An option's value; the texts of one that was given several times are read as one, with commas between them."""
    if value is None or value == ():
        return None
    assert param.name is not None
    text = value if isinstance(value, str) else ",".join(value)
    if param.name == "threshold" and text.strip().lower() == "help" and not ctx.resilient_parsing:
        _show_metrics(ctx)
    return parse_option(param.name, text, origin=f"--{param.name}")


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
        for_a_run: whether they have to go together for a run; to look at a cluster, a few are enough.

    Raises:
        UsageError: names the flags, or the file, line and key.
    """
    given = given_flags(ctx)
    if CLIENTS in given and "total_sub_apps" in given:
        raise UsageError("--clients and --total_sub_apps are both set", hint="keep one")
    values = {name: value for name, value in given.items() if name in OPTION_KINDS}
    options = merged(read_settings(ctx.params["config_file"]).options, under or {}, values)
    changes = {CLIENTS: given[CLIENTS]} if CLIENTS in given else {}
    return with_changes(options, changes) if for_a_run else options
