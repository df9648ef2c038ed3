"""What ``--help`` and ``--help-all`` show: examples, a command's own flags, those of a first run, all others in groups.

A flag that ``GROUPED`` does not name is one of the command's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

GROUPS: Mapping[str, str] = {
    "first": "Most used", "load": "Load", "kafka": "Kafka", "clients": "Client libraries", "judging": "Judging",
    "broker": "Local broker", "engine": "Marathon, Mesos and agents", "output": "Output", "general": "General",
}  # fmt: skip
"""Headings by group, in their order."""

GROUPED: Mapping[str, Mapping[str, str]] = {
    "load": {
        "clients": "N", "total_sub_apps": "N", "clients_per_app": "N", "msg_rate": "RECORDS/S", "msg_size": "BYTES",
        "msg_batch": "RECORDS", "payload": "[zeros|random|FILE]", "test_duration": "SECONDS", "warmup": "SECONDS",
        "omb_workload": "FILE",
    },
    "kafka": {
        "bootstrap_servers": "HOST:PORT,...", "kafka_config": "FILE",
        "security_protocol": "[PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL]", "kafka_ca_file": "FILE",
        "sasl_mechanism": "MECHANISM", "sasl_username": "USER", "kafka_secrets": "FILE",
        "topic": "NAME",
        "partitions": "N", "replication_factor": "N", "min_insync_replicas": "N", "retention_ms": "MS",
        "acks": "[0|1|all]",
        "linger_ms": "MS", "batch_size": "BYTES", "compression": "[none|gzip|snappy|lz4|zstd]",
        "idempotence": "[auto|yes|no]", "group": "[own|shared]", "group_mode": "[assign|group]",
        "group_protocol": "[classic|consumer]",
        "fetch_min_bytes": "BYTES", "fetch_wait_max_ms": "MS", "consumer_max_buffer_size": "BYTES",
    },
    "clients": {
        "pub_driver": "[wire|confluent|kafka-python|MODULE:CLASS]",
        "sub_driver": "[wire|confluent|kafka-python|MODULE:CLASS]", "fetch_pace_ms": "MS", "client_rack": "RACK",
        "client_id_prefix": "TEXT", "group_prefix": "TEXT",
    },
    "judging": {
        "threshold": "METRIC<VALUE,...", "audit": "[auto|always|never]", "start_timeout": "SECONDS",
        "drain_timeout": "SECONDS", "broker_metrics": "URL,...",
    },
    "broker": {
        "kafka_version": "[4.4.0|3.9.2|2.8.2|0.9.0.1]",
        "java": "FILE", "broker_property": "NAME=VALUE,...", "broker_heap_mb": "MIB", "brokers": "N",
        "kafka_security": "PROTOCOL[:MECHANISM]",
        "keep_running": "[yes|no]",
    },
    "engine": {
        "engine": "[marathon|kubernetes]", "kube_context": "NAME", "kube_namespace": "NAME", "kube_forward": "[yes|no]",
        "kube_image": "IMAGE",
        "kube_pull_secret": "NAME", "kube_pub_nodes": "LABEL=VALUE,...", "kube_sub_nodes": "LABEL=VALUE,...",
        "kube_pub_resources": "NAME=QUANTITY,...", "kube_sub_resources": "NAME=QUANTITY,...",
        "kube_tolerations": "TAINT,...", "kube_controller": "ACCOUNT",
        "marathon_url": "URL,...", "app_prefix": "GROUP", "marathon_secrets": "FILE", "marathon_ca_file": "FILE",
        "marathon_timeout": "SECONDS", "mesos_url": "URL", "cluster0": "ATTRIBUTE.VALUE", "cluster1": "ATTRIBUTE.VALUE",
        "local_agents": "AGENT,...", "appserver": "[auto|always|never]", "appserver_address": "HOST[:PORT]",
        "appserver_bind": "HOST[:PORT]", "agent_python": "FILE",
    },
    "output": {
        "output": "FILE", "report": "FILE", "csv": "FILE", "junit": "FILE", "live": "FILE", "ui": "PORT",
        "metrics_port": "PORT", "omb_result": "FILE",
    },
    "general": {"config_file": "FILE", "version": "", "help_all": ""},
}  # fmt: skip
"""The unit, form or choices of the values of flags that several commands have, by group and name, as they are shown."""

METAVARS: Mapping[str, str] = {name: text for group in GROUPED.values() for name, text in group.items()}

EXIT_CODES: Mapping[str, str] = {
    "0": "pass: every client got every record, every threshold was kept",
    "1": "fail: records were lost, or the broker broke a threshold",
    "2": "usage: a flag, hydra.ini, or too many clients; nothing was started",
    "3": "no answer (indeterminate): incomplete, low rate, or a limit not the broker's",
    "4": "infrastructure: Kafka, Marathon, Kubernetes, Java or an output file failed",
    "70": "bug of Hydra's own; a log file is named",
    "129, 130, 131, 143": "interrupted (SIGHUP, Ctrl-C, SIGQUIT, SIGTERM); what was started is gone",
}
"""The same for all commands; one that means something else by 0, 1 or 3 says so in its own words."""


class HelpPage(click.Command):
    """A command whose help begins with examples.

    Args:
        examples: command lines with what they do.
        first: flags of groups that ``--help`` shows, too; None: all of them.
        codes: exit codes that mean something else here than for a run ("": does not occur); None: none are shown.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ANN401  # click's own
        examples: Mapping[str, str] | None = None,
        first: Sequence[str] | None = None,
        codes: Mapping[str, str] | None = None,
        **fields: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(*args, **fields)
        self._examples = examples or {}
        self._first = first
        self._codes = codes
        if first is not None:
            text = "Show every flag and exit."
            flag = ["--help-all"]
            self.params.append(
                click.Option(flag, is_flag=True, is_eager=True, expose_value=False, callback=_show_all, help=text)
            )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, flags, commands and exit codes."""
        if self._examples:
            with formatter.section("Examples"):
                for lines, text in self._examples.items():
                    formatter.write_text(f"# {text}")
                    for line in lines.splitlines():
                        formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        show_all = bool(ctx.meta.get(__name__)) or self._first is None
        sections = self._sections(ctx, show_all=show_all)
        for heading, params in sections.items():
            records = [param.get_help_record(ctx) for param in params]
            if rows := [record for record in records if record is not None]:
                with formatter.section(heading):
                    formatter.write_dl(rows)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)
        if self._codes is not None:
            with formatter.section("Exit codes"):
                formatter.write_dl([(code, text) for code, text in {**EXIT_CODES, **self._codes}.items() if text])
        if not show_all:
            formatter.write_paragraph()
            formatter.write_text(f"Every other flag, in groups: {ctx.command_path} --help-all")

    def _sections(self, ctx: click.Context, *, show_all: bool) -> Mapping[str, list[click.Parameter]]:
        """The flags that are shown, by heading."""
        sections: dict[str, list[click.Parameter]] = {name: [] for name in ("Options", *GROUPS.values())}
        group_of = {name: group for group, names in GROUPED.items() for name in names}
        params = {str(param.name): param for param in self.get_params(ctx) if isinstance(param, click.Option)}
        for name, param in params.items():
            group = group_of.get(name, "general" if param is self.get_help_option(ctx) else "")
            if show_all or group in {"", "general"}:
                sections[GROUPS.get(group, "Options")].append(param)
        if not show_all:
            sections[GROUPS["first"]] = [params[name] for name in self._first or () if name in params]
        return sections


def _show_all(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001  # click's signature
    if value and not ctx.resilient_parsing:
        ctx.meta[__name__] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()
