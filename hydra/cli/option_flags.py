"""Flags out of the table of options: one for each, checked by the same code as hydra.ini and the batch API."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import click

from hydra.errors import UsageError
from hydra.options.options import OPTION_KINDS, Options
from hydra.options.parsers import Parse, number, switch, whole

F = TypeVar("F", bound=Callable[..., object])


def option_flags(*names: str) -> Callable[[F], F]:
    """A decorator that gives a command a flag for each of these options, or for all where none is named."""
    chosen = names or tuple(OPTION_KINDS)

    def decorate(command: F) -> F:
        for name in reversed(chosen):
            command = _flag(name)(command)
        config = click.option("--config_file", metavar="FILE", help="settings; default: hydra.ini, where there is one")
        return config(command)

    return decorate


def _flag(name: str) -> Callable[[F], F]:
    defaults = {item.name: item.default for item in dataclasses.fields(Options)}
    kind = OPTION_KINDS[name]
    if kind.parse is switch:
        return click.option(f"--{name}", is_flag=False, flag_value="yes", metavar="[yes|no]", help=kind.text)
    default = defaults[name]
    if isinstance(default, tuple):
        return click.option(f"--{name}", multiple=True, metavar="VALUE", help=kind.text)
    shown = kind.text if default is None else f"{kind.text}  [{_text(default)}]"
    return click.option(f"--{name}", metavar="VALUE", help=shown)


def _text(default: object) -> str:
    return f"{default:g}" if isinstance(default, float) else str(default)


def given(flags: Mapping[str, str | Sequence[str] | None]) -> dict[str, str]:
    """The flags that were given; the values of one that was given several times have commas between them."""
    return {
        name: text if isinstance(text, str) else ",".join(text)
        for name, text in flags.items()
        if text is not None and text != ()
    }


def whole_flag(name: str, text: str, low: int, high: int) -> int:
    """The value of a flag that is no option of a run: a whole number.

    Raises:
        UsageError: names the flag, its text and what it must be.
    """
    return int(_parsed(name, text, whole(low, high)))


def number_flag(name: str, text: str, low: float, high: float) -> float:
    """The same for any number.

    Raises:
        UsageError: as ``whole_flag``.
    """
    return float(_parsed(name, text, number(low, high)))


def _parsed(name: str, text: str, parse: Parse) -> float:
    try:
        value = parse(text.strip())
    except ValueError as error:
        raise UsageError(f"--{name} = {text[:80]!r} {error}") from error
    assert isinstance(value, (int, float))
    return value
