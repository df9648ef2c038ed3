"""How a JVM ended: each exit status in words, and which lines of its log tell of it."""

import signal

import pytest

from hydra.broker.jvm_exit import exit_hint, exit_reason, recent_errors

NOON_S = 12 * 3600.0


@pytest.mark.parametrize(
    ("status", "oom_killed", "reason", "hint"),
    [
        (-9, False, "it was killed by SIGKILL", "dmesg"),
        (-9, True, "the kernel killed it because a memory limit was reached (SIGKILL)", "lower --broker_heap_mb"),
        (-11, False, "it was killed by SIGSEGV", ""),
        (143, False, "it was ended by SIGTERM (exit status 143)", ""),
        (3, False, "its heap of 64 MiB was full (exit status 3)", "raise --broker_heap_mb"),
        (1, False, "it ended with exit status 1", ""),
        (0, False, "it ended with exit status 0", ""),
        (255, False, "it ended with exit status 255", ""),
    ],
)
def test_the_exit_status_in_words(status, oom_killed, reason, hint):
    assert exit_reason(status, oom_killed=oom_killed, heap_mb=64) == reason
    assert hint in exit_hint(status, oom_killed=oom_killed)
    assert bool(hint) == bool(exit_hint(status, oom_killed=oom_killed))


def test_every_signal_has_its_name():
    for number in signal.valid_signals():
        if number in set(signal.Signals):
            assert signal.Signals(number).name in exit_reason(-number, oom_killed=False, heap_mb=1)


def test_a_harmless_line_is_no_cause():
    lines = ["11:59:58.100 [main] WARN kafka.Kafka - not for production", "11:59:59.100 [main] INFO kafka.Kafka - on"]
    assert recent_errors(lines, NOON_S) == ()


def test_an_error_of_long_before_is_no_cause():
    assert recent_errors(["11:59:40.000 [main] ERROR kafka.X - a client sent nonsense"], NOON_S) == ()


def test_an_error_is_told_with_its_cause_and_without_its_stack():
    lines = [
        "11:59:59.100 [log] ERROR kafka.Log - Error while writing to t-0",
        "java.io.IOException: No space left on device",
        "\tat java.base/sun.nio.ch.UniqueFd.write0(Native Method)",
        "    at java.lang.Thread.run(Thread.java:1)",
        "Caused by: something",
        "11:59:59.200 [main] INFO kafka.Kafka - shutting down",
        "and more of it",
    ]
    assert recent_errors(lines, NOON_S) == (
        "11:59:59.100 [log] ERROR kafka.Log - Error while writing to t-0: java.io.IOException: No space left on device",
    )


def test_an_error_just_before_midnight_is_new_just_after_it():
    assert len(recent_errors(["23:59:59.900 [main] ERROR x - y"], 1.0)) == 1
    assert len(recent_errors(["00:00:01.900 [main] ERROR x - y"], 1.0)) == 1


def test_what_the_jvm_says_of_itself():
    assert recent_errors(["Error: Could not create the Java Virtual Machine."], NOON_S)
    lines = ["11:00:00.000 [main] WARN x - y", "Terminating due to java.lang.OutOfMemoryError: Java heap space"]
    assert recent_errors(["11:59:59.000 [main] WARN x - y", lines[1]], NOON_S) == (lines[1],)
