"""What exporters say of a broker under the names that people give it; what is not there is unknown."""

import pytest

from hydra.accounting.broker_inside import RequestTimes
from hydra.broker.exported_metrics import export_of, read_scrape

URL = "http://k1:7071/metrics"
STARTED = 1_000_000.0

EXAMPLE = """# HELP kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent x
# TYPE kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent gauge
kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent {handlers}
# TYPE kafka_network_socketserver_networkprocessoravgidle_percent gauge
kafka_network_socketserver_networkprocessoravgidle_percent {network}
process_start_time_seconds 1000000.0
"""
"""The names of the JMX exporter's own example for Kafka: there the handlers' meter is a mean since the start."""

NO_RULES = """# TYPE kafka_server_KafkaRequestHandlerPool_OneMinuteRate untyped
kafka_server_KafkaRequestHandlerPool_OneMinuteRate{{name="RequestHandlerAvgIdlePercent",}} {handlers}
kafka_server_KafkaRequestHandlerPool_FiveMinuteRate{{name="RequestHandlerAvgIdlePercent",}} 0.99
kafka_server_KafkaRequestHandlerPool_FifteenMinuteRate{{name="RequestHandlerAvgIdlePercent",}} 0.99
kafka_network_SocketServer_Value{{name="NetworkProcessorAvgIdlePercent",}} {network}
kafka_network_SocketServer_Value{{name="ControlPlaneNetworkProcessorAvgIdlePercent",}} NaN
"""

COUNT = """kafka_server_KafkaRequestHandlerPool_Count{{name="RequestHandlerAvgIdlePercent",}} {handlers}
kafka_server_KafkaRequestHandlerPool_OneMinuteRate{{name="RequestHandlerAvgIdlePercent",}} 0.99
kafka_server_kafkarequesthandlerpool_controllerrequesthandleravgidlepercent 0.01
"""


def exported(first, last, *, window_s=40.0, begin_s=STARTED + 1000):
    return export_of(URL, [read_scrape(first, begin_s), read_scrape(last, begin_s + window_s)], "")


def test_a_mean_since_the_start_becomes_that_of_the_run():
    """1,000 s at an idle share of 1, then 40 s at 0.1: the mean has hardly moved."""
    before, after = 1.0, (1000 + 4.0) / 1040
    found = exported(EXAMPLE.format(handlers=before, network=0.9), EXAMPLE.format(handlers=after, network=0.7))
    assert found.handlers_idle_ratio == pytest.approx(0.1, abs=1e-6)
    assert found.network_idle_ratio == pytest.approx(0.7)


def test_without_the_start_of_the_process_a_mean_is_unknown():
    text = EXAMPLE.format(handlers=0.05, network="NaN").replace("process_start_time_seconds 1000000.0\n", "")
    found = exported(text, text)
    assert (found.handlers_idle_ratio, found.network_idle_ratio, found.scrapes) == (None, None, 2)


def test_a_broker_that_began_again_in_between_is_unknown():
    text = EXAMPLE.format(handlers=0.05, network=0.5)
    assert exported(text, text.replace("1000000.0", "1001005.0")).handlers_idle_ratio is None


def test_the_rate_of_the_last_minute():
    found = exported(NO_RULES.format(handlers=0.8, network=0.9), NO_RULES.format(handlers=0.1, network=0.6))
    assert (found.handlers_idle_ratio, found.network_idle_ratio) == (0.1, 0.6)


def test_a_share_that_rises_is_of_the_time_before_the_run():
    found = exported(NO_RULES.format(handlers=0.02, network=0.5), NO_RULES.format(handlers=0.12, network=0.5))
    assert (found.handlers_idle_ratio, found.network_idle_ratio) == (None, 0.5)


def test_a_count_of_nanoseconds_goes_before_a_rate():
    found = exported(COUNT.format(handlers="5.0E11"), COUNT.format(handlers="5.04E11"))
    assert (found.handlers_idle_ratio, found.network_idle_ratio) == (pytest.approx(0.1), None)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-3", "70"])
def test_what_is_no_share_is_unknown(value):
    text = NO_RULES.format(handlers=value, network=value)
    found = exported(text, text)
    assert (found.handlers_idle_ratio, found.network_idle_ratio) == (None, None)


def test_a_run_that_is_shorter_than_a_rate_is_not_what_the_rate_is_of():
    text = EXAMPLE.format(handlers=0.9, network=0.1)
    assert exported(text, text, window_s=20.0).network_idle_ratio is None
    assert exported(text, text, window_s=30.0).network_idle_ratio == 0.1
    single = export_of(URL, [read_scrape(text, STARTED + 10)], "")
    assert (single.handlers_idle_ratio, single.network_idle_ratio) == (None, None)


POOLS = """kafka_server_KafkaRequestHandlerPool_Count{{name="BrokerRequestHandlerAvgIdlePercent"}} {broker}
kafka_server_KafkaRequestHandlerPool_Count{{name="ControllerRequestHandlerAvgIdlePercent"}} {controller}
kafka_server_KafkaRequestHandlerPool_Count{{name="RequestHandlerAvgIdlePercent"}} {both}
"""
"""As Kafka 4.4 has them, in which one process may be broker and controller."""


def test_the_brokers_own_pool_goes_before_the_figure_over_both():
    found = exported(
        POOLS.format(broker=1e10, controller=2e10, both=1.5e10),
        POOLS.format(broker=1.2e10, controller=6e10, both=3.5e10),
    )
    assert found.handlers_idle_ratio == pytest.approx(0.05)


TIMES = """kafka_network_requestmetrics_requestqueuetimems{request="Produce",quantile="0.50",} 1.0
kafka_network_requestmetrics_requestqueuetimems{request="Produce",quantile="0.99",} 700.0
kafka_network_requestmetrics_requestqueuetimems{request="Produce",quantile="0.999",} 900.0
kafka_network_requestmetrics_localtimems_mean{request="Produce"} 2.5
kafka_network_RequestMetrics_99thPercentile{name="ResponseSendTimeMs",request="FetchConsumer",} 3.0
kafka_network_RequestMetrics_999thPercentile{name="ResponseSendTimeMs",request="FetchConsumer",} 9.0
kafka_network_RequestMetrics_Mean{name="ResponseSendTimeMs",request="FetchConsumer",} 1.0
kafka_network_RequestMetrics_Count{name="RemoteTimeMs",request="FetchConsumer",} 12345.0
kafka_network_requestmetrics_requestqueuetimems{request="Metadata",quantile="0.99",} 5.0
"""


def test_times_are_the_99th_percentile_or_else_the_mean():
    assert read_scrape(TIMES, 0.0).times == (
        RequestTimes("Produce", queue_ms=700.0, local_ms=2.5),
        RequestTimes("FetchConsumer", send_ms=3.0),
    )


@pytest.mark.parametrize("text", ["<html>\n<body>503</body>", "a b c d\n", 'a{b="c} 1', "a one\n"])
def test_what_is_no_prometheus_text_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        read_scrape(text, 0.0)


def test_an_empty_answer_says_nothing():
    assert export_of(URL, [read_scrape("", 0.0)], "").handlers_idle_ratio is None
