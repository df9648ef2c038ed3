"""``--omb_workload`` and ``--omb_result``: workloads and result files of the OpenMessaging Benchmark."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from hydra.cli.flags import given_flags, parsed_by
from hydra.codec import DecodeError, decode_yaml
from hydra.errors import UsageError
from hydra.options.omb_workload import OmbWorkload, parse_workload
from hydra.options.parsers import path
from hydra.options.reader import read_text

F = TypeVar("F", bound=Callable[..., object])


def workload_flag(command: F) -> F:
    """A decorator that gives a command ``--omb_workload``."""
    text = "a workload file of the OpenMessaging Benchmark (YAML); other flags win over it"
    return click.option("--omb_workload", metavar="FILE", help=text, callback=parsed_by(path))(command)


def given_workload(ctx: click.Context, *, search: bool = False) -> OmbWorkload:
    """What the file of ``--omb_workload`` asks for; nothing where it is not given.

    Args:
        ctx: the command's.
        search: whether the command looks for the highest rate.

    Raises:
        UsageError: the file cannot be read, or asks for what Hydra cannot do.
    """
    file = ctx.params["omb_workload"]
    if file is None:
        return OmbWorkload("", {})
    workload = read_workload(file)
    if workload.finds_rate and not search and "msg_rate" not in given_flags(ctx):
        hint = f"'hydra kafka maxrate --omb_workload={file}', or --msg_rate"
        raise UsageError(f"{file}: producerRate is 0: it asks for the highest rate", hint=f"use {hint}")
    return workload


def read_workload(file: str) -> OmbWorkload:
    """The workload in a YAML file, with its payload where that is found.

    Raises:
        UsageError: it cannot be read, or asks for what Hydra cannot do.
    """
    try:
        document = decode_yaml(read_text(Path(file), kind="workload"))
    except FileNotFoundError as error:
        raise UsageError(f"--omb_workload={file} does not exist") from error
    except DecodeError as error:
        raise UsageError(f"{file} is not YAML: {error.message[:200]}") from error
    workload = parse_workload(document, file)
    if (payload := workload.payload_file) is None:
        return workload
    # It is as seen from the folder that OMB is started in, of which the workload is two levels below at most.
    for folder in (Path(), Path(file).parent, Path(file).parent.parent):
        if (folder / payload).is_file():
            return dataclasses.replace(workload, options={**workload.options, "payload": str(folder / payload)})
    note = f"payloadFile: {payload} is not there: the payload is random"
    return dataclasses.replace(
        workload, options={**workload.options, "payload": "random"}, notes=(*workload.notes, note)
    )


def tell_notes(workload: OmbWorkload, tell: Callable[[str], None]) -> None:
    """Name what is measured otherwise than by OMB."""
    for note in workload.notes:
        tell(f"not as OMB does it: {note}")
