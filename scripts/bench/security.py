"""What TLS and SASL cost, beside plaintext: the same load for each driver, interleaved over several rounds; medians.

    scripts/python scripts/bench/security.py --rounds 5 --output security.json

Each measurement is the command ``hydra kafka`` with a stack of its own (``--kafka_security``). In a round every driver
meets every security once, and in each round another one first. Printed: the median of each figure, and the median of
its ratio to plaintext in the same round. All rounds are in the JSON file: driver -> security -> a dict for each round.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from points import Totals, measure, median, text

PLAINTEXT = "plaintext"
SECURITIES = (PLAINTEXT, "ssl", "sasl_plaintext:scram-sha-512", "sasl_ssl:scram-sha-512")
DRIVERS = ("wire", "confluent", "kafka-python")
SHOWN = (
    "lost",
    "e2e_p50_ms",
    "e2e_p99_ms",
    "sub_cpu_us_per_delivery",
    "pub_cpu_percent",
    "broker_cpu_percent",
    "ready_s",
)
COMPARED = SHOWN[1:]

Rounds = dict[str, dict[str, list[Totals]]]
"""Driver -> security -> the figures of each round."""


def main() -> None:
    """Run the rounds and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--drivers", nargs="+", choices=DRIVERS, default=DRIVERS, help="of publisher and subscribers")
    parser.add_argument("--securities", nargs="+", default=SECURITIES[1:], help="beside plaintext")
    parser.add_argument("--clients", type=int, default=50, help="in apps of 10")
    parser.add_argument("--msg_rate", type=float, default=1000)
    parser.add_argument("--msg_size", type=int, default=100, help="bytes of a record")
    parser.add_argument("--flags", default="", help="more flags for all of them")
    parser.add_argument("--output", help="JSON file with every round")
    asked = parser.parse_args()
    load = (f"--clients={asked.clients}", f"--msg_rate={asked.msg_rate}", f"--msg_size={asked.msg_size}")
    securities = list(dict.fromkeys((PLAINTEXT, *asked.securities)))
    found: Rounds = {driver: {security: [] for security in securities} for driver in asked.drivers}
    for number in range(asked.rounds):
        for driver in asked.drivers:
            for security in turned(securities, number):
                drivers = (f"--pub_driver={driver}", f"--sub_driver={driver}")
                figures = measure((*load, *drivers, f"--kafka_security={security}", *asked.flags.split()))
                found[driver][security].append(figures)
                print(f"round {number + 1} {driver} {security}: {_line(figures)}", flush=True)
                if asked.output:  # what there is, should a later one fail
                    Path(asked.output).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\nmedians, and of the ratios to plaintext")
    for driver, rows in found.items():
        for security, rounds in rows.items():
            medians = {name: median([figures[name] for figures in rounds]) for name in ("verdict", "limit", *SHOWN)}
            print(f"{driver} {security}: {_line(medians)}; ratios {_line(ratios(rows[PLAINTEXT], rounds))}")


def turned(securities: Sequence[str], number: int) -> Sequence[str]:
    """Another one comes first in each round: what the machine does at that time is then no security's."""
    first = number % len(securities)
    return [*securities[first:], *securities[:first]]


def ratios(plaintext: Sequence[Totals], rounds: Sequence[Totals]) -> Totals:
    """The median of each compared figure's ratio to that of plaintext in the same round; none where one is unknown."""
    found: Totals = {}
    for name in COMPARED:
        pairs = [(figures[name], plain[name]) for plain, figures in zip(plaintext, rounds, strict=True)]
        each: list[object] = [a / b for a, b in pairs if isinstance(a, float) and isinstance(b, float) and b]
        if each:
            found[name] = median(each)
    return found


def _line(figures: Mapping[str, object]) -> str:
    wanted = ("verdict", "limit", *SHOWN)
    return ", ".join(f"{name} {text(figures[name])}" for name in wanted if name in figures)


if __name__ == "__main__":
    main()
