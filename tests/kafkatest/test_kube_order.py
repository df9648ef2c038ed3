"""What a controller in the cluster is told, and what it tells."""

import pytest

from hydra.codec import decode, encode
from hydra.errors import UsageError
from hydra.kafkatest.kube_order import ControllerOrder, Listener, ToldProgress, check_controller
from hydra.options.kafka_access import KafkaAccess
from hydra.options.options import Options
from hydra.run.protocols import LiveCounts

GOOD = {"engine": "kubernetes", "bootstrap_servers": "k:9092", "kube_image": "hydra:1"}
COUNTS = LiveCounts(1.0, 10, 5, 5, 10, 0, 0)


class Heard:
    wants_figures = True

    def __init__(self):
        self.told = []

    def phase(self, name, detail=""):
        self.told.append((name, detail))

    def counts(self, live):
        self.told.append(live)

    def note(self, text):
        self.told.append(text)


def test_what_is_told_is_heard_once_however_often_it_is_read():
    lines, heard = [], Heard()
    progress, listener = ToldProgress(lines.append), Listener(heard)
    progress.phase("starting")
    progress.phase("starting")
    progress.note("a note\nof two lines")
    listener.hear(["hydra: plain", *lines])
    progress.counts(COUNTS)
    listener.hear(lines[1:])
    listener.hear([*lines[-1:], "Traceback", ""])
    assert heard.told == [("starting", ""), "a note\nof two lines", COUNTS]
    assert all("\n" not in line for line in lines)
    assert listener.others == ("Traceback",)


def test_an_order_is_read_as_it_was_written():
    order = ControllerOrder(Options(**GOOD, threshold=("loss==0",)), KafkaAccess("SASL_SSL", "PLAIN", "me", "s3cr3t"))
    assert decode(encode(order), ControllerOrder) == order
    assert "s3cr3t" not in repr(order)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine": "marathon"}, "needs --engine=kubernetes"),
        ({"kube_image": None}, "needs --kube_image"),
        ({"keep_running": True}, "--keep_running does not go"),
        ({"kube_forward": True}, "--kube_forward does not go"),
        ({"payload": "/tmp/x"}, "--payload=/tmp/x does not go"),
        ({"sub_driver": "/tmp/x.py:Mine"}, "--sub_driver=/tmp/x.py:Mine does not go"),
    ],
)
def test_what_the_cluster_cannot_do_is_refused(changes, words):
    check_controller(Options(**GOOD, payload="random"))
    with pytest.raises(UsageError, match=words):
        check_controller(Options(**{**GOOD, **changes}))
