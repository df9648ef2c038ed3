"""The error tree and its exit codes."""

import pytest

from hydra import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.HydraError, 70),
        (errors.UsageError, 2),
        (errors.ConfigurationError, 2),
        (errors.CapacityError, 2),
        (errors.DegradedError, 3),
        (errors.NotReadyError, 3),
        (errors.AccountingError, 70),
        (errors.InfrastructureError, 4),
        (errors.BrokerError, 4),
        (errors.JavaError, 4),
        (errors.JarError, 4),
        (errors.MarathonError, 4),
        (errors.AppLockedError, 4),
        (errors.OutputError, 4),
    ],
)
def test_exit_codes(kind, code):
    error = kind("x is 3")
    assert isinstance(error, errors.HydraError)
    assert error.exit_code == code


@pytest.mark.parametrize(("number", "code", "text"), [(2, 130, "interrupted"), (15, 143, "terminated")])
def test_an_interruption_has_the_code_of_its_signal(number, code, text):
    error = errors.InterruptedRunError(number)
    assert (error.exit_code, str(error)) == (code, text)
    assert not isinstance(error, Exception), "who makes the best of an error would go on after a signal"


def test_every_error_of_the_tree_has_a_code_that_was_looked_at():
    def below(kind):
        return {kind}.union(*(below(child) for child in kind.__subclasses__() if child.__module__ == errors.__name__))

    assert {kind.exit_code for kind in below(errors.HydraError)} == {2, 3, 4, 70}


def test_only_a_locked_app_is_worth_another_try():
    assert errors.AppLockedError("x").retryable
    assert not errors.MarathonError("x").retryable
    assert not errors.BrokerError("x").retryable


def test_the_text_is_the_problem_and_the_way_out():
    assert str(errors.UsageError("--acks = 2 is wrong", hint="use 0, 1 or all")) == (
        "--acks = 2 is wrong: use 0, 1 or all"
    )
    assert str(errors.UsageError("--acks = 2 is wrong")) == "--acks = 2 is wrong"


def test_typed_attributes():
    assert errors.NotReadyError("x", missing=["a", "b"]).missing == ("a", "b")
    assert errors.MarathonError("x", status=503).status == 503
    assert errors.MarathonError("x").status is None
