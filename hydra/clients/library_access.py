"""How the two client libraries are let in: a KafkaAccess in the settings of librdkafka and of kafka-python."""

from __future__ import annotations

import contextlib
from typing import Any

from hydra.clients.access_token import shared_token
from hydra.clients.tls_context import shared_context
from hydra.errors import UsageError
from hydra.options.kafka_access import GSSAPI, OAUTHBEARER, KafkaAccess


def librdkafka_settings(access: KafkaAccess) -> dict[str, Any]:
    """What a client of confluent-kafka needs beside its other settings; nothing where nothing is secured."""
    if not access.secured:
        return {}
    settings: dict[str, Any] = {"security.protocol": access.protocol}
    if access.tls:
        settings["ssl.endpoint.identification.algorithm"] = "https" if access.check_hostname else "none"
        settings["enable.ssl.certificate.verification"] = access.verify_certificate
        pems = {
            "ssl.ca.pem": access.ca_pem,
            "ssl.certificate.pem": access.certificate_pem,
            "ssl.key.pem": access.key_pem,
        }
        settings |= {name: pem for name, pem in pems.items() if pem}
        if access.key_password:
            settings["ssl.key.password"] = access.key_password
    if not access.sasl:
        return settings
    settings["sasl.mechanisms"] = access.wire_mechanism
    if access.wire_mechanism == OAUTHBEARER:
        settings["oauth_cb"] = _token_callback(access)
    elif access.mechanism == GSSAPI:
        settings["sasl.kerberos.service.name"] = access.kerberos_service_name
        if access.username:
            settings["sasl.kerberos.principal"] = access.username
    else:
        settings |= {"sasl.username": access.username, "sasl.password": access.password}
    return settings


def _token_callback(access: KafkaAccess) -> Any:  # noqa: ANN401  as confluent-kafka wants it
    token = shared_token(access)
    extensions = dict(access.tokens.extensions)

    def give(_config: str) -> tuple[Any, ...]:
        text, expires_s = token.get()
        return text, expires_s, "", extensions

    return give


def kafka_python_settings(access: KafkaAccess) -> dict[str, Any]:
    """What a client of kafka-python needs beside its other settings; nothing where nothing is secured.

    Raises:
        UsageError: certificates or key cannot be used, or the library of a mechanism is not installed here.
    """
    if not access.secured:
        return {}
    settings: dict[str, Any] = {"security_protocol": access.protocol}
    if access.tls:
        settings["ssl_context"] = shared_context(access)
    if not access.sasl:
        return settings
    settings["sasl_mechanism"] = access.wire_mechanism
    if access.wire_mechanism == OAUTHBEARER:
        settings["sasl_oauth_token_provider"] = _token_provider(access)
    elif access.mechanism == GSSAPI:
        settings["sasl_kerberos_service_name"] = access.kerberos_service_name
    else:
        settings |= {"sasl_plain_username": access.username, "sasl_plain_password": access.password}
    return settings


def _token_provider(access: KafkaAccess) -> Any:  # noqa: ANN401  the library has no types
    from kafka.net.sasl.oauth import AbstractTokenProvider

    class Provider(AbstractTokenProvider):  # type: ignore[misc]  # as above
        def token(self) -> str:
            return shared_token(access).get()[0]

        def extensions(self) -> dict[str, str]:
            return dict(access.tokens.extensions)

    return Provider()


def check_mechanism(access: KafkaAccess, drivers: tuple[str, ...]) -> None:
    """See that these drivers, and the admin, can speak the mechanism.

    Raises:
        UsageError: one of them cannot, or a library for it is not installed here.
    """
    if access.mechanism != GSSAPI:
        return
    if "wire" in drivers:
        hint = "use --pub_driver and --sub_driver with confluent or kafka-python"
        raise UsageError("sasl.mechanism=GSSAPI is not spoken by the wire driver", hint=hint)
    with contextlib.suppress(ImportError):
        import gssapi  # type: ignore[import-not-found]  # noqa: F401  # the admin asks with kafka-python, which needs it

        return
    raise UsageError(
        "sasl.mechanism=GSSAPI needs the Python package gssapi, which is not installed",
        hint="pip install 'hydra-scaletest[kerberos]', on the load hosts too; or use another listener",
    )


def token_of(access: KafkaAccess) -> None:
    """Fetch a first token, where the mechanism wants one: what is wrong with its source shows before anything starts.

    Raises:
        BrokerError: there is none.
    """
    if access.wire_mechanism == OAUTHBEARER:
        shared_token(access).get()
