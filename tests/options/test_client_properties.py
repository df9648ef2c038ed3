"""Client properties files as users have them, from vendors' consoles and from colleagues: taken, or refused by name."""

from __future__ import annotations

import pytest

from hydra.errors import ConfigurationError
from hydra.options.client_properties import ClientProperties, Store, aws_region, parse_client_properties
from hydra.options.java_properties import parse_jaas, parse_properties
from hydra.options.kafka_access import TokenSource

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
BEARER = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"

EXAMPLES = {
    "hosted service, Java": (
        f"""# Required connection configs for Kafka producer, consumer, and admin
bootstrap.servers=pkc-4r0k9.eu-west-1.aws.cloud.example:9092
security.protocol=SASL_SSL
sasl.jaas.config={PLAIN} required username='4ZB2N3SXKWQ5TQ6A' password='cfltb+Zx/0Q==';
sasl.mechanism=PLAIN
# Required for correctness in Apache Kafka clients prior to 2.6
client.dns.lookup=use_all_dns_ips
session.timeout.ms=45000
acks=all
client.id=ccloud-java-client-0d1
schema.registry.url=https://psrc-1.example
basic.auth.credentials.source=USER_INFO
basic.auth.user.info=key:secret
""",
        {
            "bootstrap_servers": "pkc-4r0k9.eu-west-1.aws.cloud.example:9092",
            "protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "4ZB2N3SXKWQ5TQ6A", "password": "cfltb+Zx/0Q==",
            "has_secrets": True,
            "ignored": (
                "client.dns.lookup", "session.timeout.ms", "acks", "client.id", "schema.registry.url",
                "basic.auth.credentials.source", "basic.auth.user.info",
            ),
        },
    ),
    "hosted service, librdkafka": (
        """bootstrap.servers=pkc-4r0k9.eu-west-1.aws.cloud.example:9092
security.protocol=SASL_SSL
sasl.mechanisms=PLAIN
sasl.username=4ZB2N3SXKWQ5TQ6A
sasl.password=cfltb+Zx/0Q==
session.timeout.ms=45000
""",
        {
            "bootstrap_servers": "pkc-4r0k9.eu-west-1.aws.cloud.example:9092", "protocol": "SASL_SSL",
            "mechanism": "PLAIN", "username": "4ZB2N3SXKWQ5TQ6A", "password": "cfltb+Zx/0Q==", "has_secrets": True,
            "ignored": ("session.timeout.ms",),
        },
    ),
    "event hubs": (
        f"""bootstrap.servers=mynamespace.servicebus.windows.net:9093
security.protocol=SASL_SSL
sasl.mechanism=PLAIN
sasl.jaas.config={PLAIN} required username="$ConnectionString" \\
    password="Endpoint=sb://mynamespace.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=aB/c=";
""",
        {
            "bootstrap_servers": "mynamespace.servicebus.windows.net:9093", "protocol": "SASL_SSL",
            "mechanism": "PLAIN", "username": "$ConnectionString", "has_secrets": True,
            "password": "Endpoint=sb://mynamespace.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=aB/c=",
        },
    ),
    "MSK with IAM": (
        """ssl.truststore.location=/tmp/kafka.client.truststore.jks
security.protocol=SASL_SSL
sasl.mechanism=AWS_MSK_IAM
sasl.jaas.config=software.amazon.msk.auth.iam.IAMLoginModule required;
sasl.client.callback.handler.class=software.amazon.msk.auth.iam.IAMClientCallbackHandler
""",
        {
            "protocol": "SASL_SSL", "mechanism": "AWS_MSK_IAM",
            "trusted": Store("/tmp/kafka.client.truststore.jks"),
        },
    ),
    "MSK with IAM over OAUTHBEARER": (
        f"""security.protocol=SASL_SSL
sasl.mechanism=OAUTHBEARER
sasl.jaas.config={BEARER} required;
sasl.login.callback.handler.class=software.amazon.msk.auth.iam.IAMOAuthBearerLoginCallbackHandler
sasl.client.callback.handler.class=software.amazon.msk.auth.iam.IAMOAuthBearerLoginCallbackHandler
""",
        {"protocol": "SASL_SSL", "mechanism": "AWS_MSK_IAM"},
    ),
    "MSK with SCRAM": (
        f"""security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config={SCRAM} required \\
  username="alice" \\
  password="alice-secret";
""",
        {
            "protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512", "username": "alice", "password": "alice-secret",
            "has_secrets": True,
        },
    ),
    "hosted service with client certificates": (
        """security.protocol=SSL
ssl.protocol=TLS
ssl.keystore.type=PKCS12
ssl.keystore.location=client.keystore.p12
ssl.keystore.password=changeit
ssl.key.password=changeit
ssl.truststore.location=client.truststore.jks
ssl.truststore.password=changeit
""",
        {
            "protocol": "SSL", "own": Store("client.keystore.p12", "changeit", "PKCS12"), "key_password": "changeit",
            "trusted": Store("client.truststore.jks", "changeit"), "has_secrets": True, "ignored": ("ssl.protocol",),
        },
    ),
    "the same, librdkafka": (
        """security.protocol=ssl
ssl.key.location=service.key
ssl.certificate.location=service.cert
ssl.ca.location=ca.pem
""",
        {
            "protocol": "SSL", "key_path": "service.key", "certificate_path": "service.cert",
            "trusted": Store("ca.pem", kind="PEM"),
        },
    ),
    "operator on Kubernetes, PEM files": (
        """security.protocol: SSL
ssl.truststore.type: PEM
ssl.truststore.location: /certs/ca.crt
ssl.keystore.type: PEM
ssl.keystore.location: /certs/user.pem
""",
        {"protocol": "SSL", "trusted": Store("/certs/ca.crt", kind="PEM"), "own": Store("/certs/user.pem", kind="PEM")},
    ),
    "PEM in the file itself": (
        """security.protocol=SSL
ssl.truststore.type=PEM
ssl.truststore.certificates=-----BEGIN CERTIFICATE----- \\
  MIIC \\
  -----END CERTIFICATE-----
ssl.keystore.key=-----BEGIN PRIVATE KEY-----\\nMIIE\\n-----END PRIVATE KEY-----
ssl.keystore.certificate.chain=-----BEGIN CERTIFICATE-----\\nMIID\\n-----END CERTIFICATE-----
""",
        {
            "protocol": "SSL", "trusted": Store(kind="PEM"), "has_secrets": True,
            "trusted_pem": "-----BEGIN CERTIFICATE----- MIIC -----END CERTIFICATE-----",
            "key_pem": "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
            "certificate_pem": "-----BEGIN CERTIFICATE-----\nMIID\n-----END CERTIFICATE-----",
        },
    ),
    "identity provider, Java": (
        f"""security.protocol=SASL_SSL
sasl.mechanism=OAUTHBEARER
sasl.login.callback.handler.class=org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerLoginCallbackHandler
sasl.oauthbearer.token.endpoint.url=https://login.example.com/oauth2/token
sasl.jaas.config={BEARER} required clientId="app" clientSecret="s3cret" scope="kafka" \\
    extension_logicalCluster='lkc-1' extension_identityPoolId='pool-2';
""",
        {
            "protocol": "SASL_SSL", "mechanism": "OAUTHBEARER", "has_secrets": True,
            "tokens": TokenSource(
                url="https://login.example.com/oauth2/token", client_id="app", client_secret="s3cret", scope="kafka",
                extensions=(("logicalCluster", "lkc-1"), ("identityPoolId", "pool-2")),
            ),
        },
    ),
    "identity provider, Kafka 4": (
        """security.protocol=SASL_SSL
sasl.mechanism=OAUTHBEARER
sasl.oauthbearer.token.endpoint.url=https://login.example.com/oauth2/token
sasl.oauthbearer.client.credentials.client.id=app
sasl.oauthbearer.client.credentials.client.secret=s3cret
sasl.oauthbearer.scope=kafka
sasl.login.retry.backoff.ms=100
""",
        {
            "protocol": "SASL_SSL", "mechanism": "OAUTHBEARER", "has_secrets": True,
            "ignored": ("sasl.login.retry.backoff.ms",),
            "tokens": TokenSource(
                url="https://login.example.com/oauth2/token", client_id="app", client_secret="s3cret", scope="kafka"
            ),
        },
    ),
    "identity provider, librdkafka": (
        """security.protocol=SASL_SSL
sasl.mechanisms=OAUTHBEARER
sasl.oauthbearer.method=oidc
sasl.oauthbearer.client.id=app
sasl.oauthbearer.client.secret=s3cret
sasl.oauthbearer.extensions=logicalCluster=lkc-1,identityPoolId=pool-2
sasl.oauthbearer.token.endpoint.url=https://login.example.com/oauth2/token
""",
        {
            "protocol": "SASL_SSL", "mechanism": "OAUTHBEARER", "has_secrets": True,
            "tokens": TokenSource(
                url="https://login.example.com/oauth2/token", client_id="app", client_secret="s3cret",
                extensions=(("logicalCluster", "lkc-1"), ("identityPoolId", "pool-2")),
            ),
        },
    ),
    "token in a file": (
        f"""security.protocol=SASL_PLAINTEXT
sasl.mechanism=OAUTHBEARER
sasl.oauthbearer.token.endpoint.url=file:///run/secrets/token.jwt
sasl.jaas.config={BEARER} required ;
""",
        {
            "protocol": "SASL_PLAINTEXT", "mechanism": "OAUTHBEARER",
            "tokens": TokenSource(file="/run/secrets/token.jwt"),
        },
    ),
    "token of a command": (
        """security.protocol=SASL_SSL
sasl.mechanism=OAUTHBEARER
hydra.sasl.oauthbearer.token.command=gcloud auth print-access-token
""",
        {
            "protocol": "SASL_SSL", "mechanism": "OAUTHBEARER", "has_secrets": True,
            "tokens": TokenSource(command="gcloud auth print-access-token"),
        },
    ),
    "Kerberos, Java": (
        """security.protocol=SASL_PLAINTEXT
sasl.mechanism=GSSAPI
sasl.kerberos.service.name=kafka-prod
sasl.jaas.config=com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true \\
    keyTab="/etc/security/keytabs/kafka_client.keytab" principal="kafka-client-1@EXAMPLE.COM";
""",
        {
            "protocol": "SASL_PLAINTEXT", "mechanism": "GSSAPI", "kerberos_service_name": "kafka-prod",
            "username": "kafka-client-1@EXAMPLE.COM",
        },
    ),
    "Kerberos, librdkafka": (
        """security.protocol=SASL_SSL
sasl.mechanism=GSSAPI
sasl.kerberos.service.name=kafka
sasl.kerberos.keytab=/etc/client.keytab
sasl.kerberos.principal=client@EXAMPLE.COM
ssl.ca.location=probe
""",
        {
            "protocol": "SASL_SSL", "mechanism": "GSSAPI", "username": "client@EXAMPLE.COM",
            "ignored": ("sasl.kerberos.keytab",),
        },
    ),
    "a colleague's, no check of the name": (
        """metadata.broker.list=SASL_SSL://k1:9093,SASL_SSL://k2:9093
security.protocol=sasl_ssl
sasl.mechanism=SCRAM-SHA-256
sasl.username=load
sasl.password=p#ss=word
ssl.endpoint.identification.algorithm=
enable.ssl.certificate.verification=false
debug=security
log_level=7
""",
        {
            "bootstrap_servers": "k1:9093,k2:9093", "protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-256",
            "username": "load", "password": "p#ss=word", "check_hostname": False, "verify_certificate": False,
            "has_secrets": True, "ignored": ("debug", "log_level"),
        },
    ),
    "a producer's": (
        """bootstrap.servers = localhost:9092
key.serializer = org.apache.kafka.common.serialization.StringSerializer
value.serializer = org.apache.kafka.common.serialization.ByteArraySerializer
compression.type = lz4
linger.ms = 20
enable.idempotence = true
max.in.flight.requests.per.connection = 5
""",
        {
            "bootstrap_servers": "localhost:9092",
            "ignored": (
                "key.serializer", "value.serializer", "compression.type", "linger.ms", "enable.idempotence",
                "max.in.flight.requests.per.connection",
            ),
        },
    ),
    "without secrets": (
        """security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.username=load
ssl.truststore.location=/etc/kafka/ca.pem
ssl.truststore.type=PEM
""",
        {
            "protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512", "username": "load",
            "trusted": Store("/etc/kafka/ca.pem", kind="PEM"),
        },
    ),
    "escapes of Java": (
        "sasl.mechanism=SCRAM-SHA-256\n"
        "sasl.jaas.config=" + SCRAM + ' required username="ü\\\\"x" password="a\\u0062c";\n',
        {"mechanism": "SCRAM-SHA-256", "username": 'ü"x', "password": "abc", "has_secrets": True},
    ),
}  # fmt: skip

REFUSED = {
    "a typing error": ("secuirty.protocol=SSL\n", r"f:1: secuirty.protocol is not known: did you mean security.prot"),
    "an unknown one": ("ssl.engine.factory.class=a.B\n", r"f:1: ssl.engine.factory.class is not known"),
    "two dialects, two users": (
        f"sasl.mechanism=PLAIN\nsasl.username=a\nsasl.jaas.config={PLAIN} required username='b';\n",
        r"f:2: sasl.username contradicts username of sasl.jaas.config",
    ),
    "the same twice": ("sasl.password=topsecret\nsasl.password=other\n", r"f:2: sasl.password contradicts .* line 1"),
    "aliases": ("sasl.mechanism=PLAIN\nsasl.mechanisms=GSSAPI\n", r"f:2: sasl.mechanisms contradicts sasl.mechanism"),
    "another mechanism's module": (
        f'sasl.mechanism=SCRAM-SHA-256\nsasl.jaas.config={PLAIN} required username="a" password="topsecret";\n',
        r"f:2: sasl.jaas.config is for PLAIN, and sasl.mechanism is SCRAM-SHA-256",
    ),
    "SCRAM without saying which": (
        f'sasl.jaas.config={SCRAM} required username="a" password="topsecret";\n', r"needs sasl.mechanism beside it"
    ),
    "a module of nobody's": ("sasl.jaas.config=com.acme.Login required;\n", r"login module Login, which is not known"),
    "no semicolon": (f'sasl.jaas.config={PLAIN} required username="a" password="topsecret"\n', r"with the semicolon"),
    "an open quote": (f'sasl.jaas.config={PLAIN} required password="topsecret;\n', r"quote that does not end"),
    "a placeholder": ("sasl.password=${file:/x:topsecret}\n", r"f:1: sasl.password has a placeholder"),
    "a template": ("sasl.username={{ CLUSTER_API_KEY }}\n", r"f:1: sasl.username has a placeholder"),
    "a protocol of nobody's": ("security.protocol=TLS\n", r"f:1: security.protocol = 'TLS' must be PLAINTEXT"),
    "a mechanism of nobody's": ("sasl.mechanism=DIGEST-MD5\n", r"f:1: sasl.mechanism = 'DIGEST-MD5' must be PLAIN"),
    "a handler of nobody's": (
        "sasl.mechanism=OAUTHBEARER\nsasl.login.callback.handler.class=com.acme.Handler\n",
        r"f:2: sasl.login.callback.handler.class = Handler is not known here: set hydra.sasl",
    ),
    "two trusts": ("ssl.ca.location=a\nssl.truststore.location=b\n", r"ssl.ca.location are both set"),
    "two sources of tokens": (
        "hydra.sasl.oauthbearer.token.command=a\nsasl.oauthbearer.token.endpoint.url=b\nsasl.mechanism=OAUTHBEARER\n",
        r"token.command contradicts sasl.oauthbearer.token.endpoint.url",
    ),
    "an endpoint with a secret": (
        "sasl.mechanism=OAUTHBEARER\nsasl.oauthbearer.token.endpoint.url=https://u:topsecret@h/\n",
        r"must be an http\(s\) or file URL",
    ),
    "brokers without a port": ("bootstrap.servers=k1\n", r"f:1: bootstrap.servers = 'k1' must be host:port"),
    "half a character": ("a=b\nsasl.username=\\ud800topsecret\n", r"f: line 2 has half of a surrogate pair"),
    "half a character in JAAS": (
        'sasl.jaas.config=a.PlainLoginModule required username="\\udc00";\n', r"f: line 1 has half of a surrogate pair"
    ),
    "a key over several lines": (
        "ssl.key.pem=-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIAABtopsecret\n-----END EC PRIVATE KEY-----\n",
        r"f:2: no setting begins like this line",
    ),
    "a password in a line of its own": ("sasl.password=\ntopsecret\n", r"f:2: no setting begins like this line"),
    "no name": ("=x\n", r"f: line 1 is not name=value"),
}  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_file_is_taken(example):
    text, wanted = EXAMPLES[example]
    assert parse_client_properties(text, name="f") == ClientProperties(**wanted)


@pytest.mark.parametrize("example", REFUSED)
def test_a_file_is_refused_by_name_and_never_by_secret(example):
    text, told = REFUSED[example]
    with pytest.raises(ConfigurationError, match=told) as refused:
        parse_client_properties(text, name="f")
    assert "topsecret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("example", EXAMPLES)
def test_no_secret_is_shown(example):
    found = parse_client_properties(EXAMPLES[example][0], name="f")
    secrets = (
        found.password, found.own.password, found.key_password, found.key_pem, found.tokens.client_secret,
        found.tokens.command,
    )  # fmt: skip
    assert not [secret for secret in secrets if secret and secret in repr(found)]


def test_lines_are_read_as_java_reads_them():
    text = "! no\n\n  a : b\nc d\ne=f\\\n   g\nh\\=i=j\nk=\nl=\\u00e4\\tm\nn\no=\\ud83d\\ude00\n"
    assert [(each.line, each.name, each.value) for each in parse_properties(text)] == [
        (3, "a", "b"), (4, "c", "d"), (5, "e", "fg"), (7, "h=i", "j"), (8, "k", ""), (9, "l", "ä\tm"), (10, "n", ""),
        (11, "o", "\N{GRINNING FACE}"),
    ]  # fmt: skip


def test_a_login_module_without_options_has_none():
    assert parse_jaas("a.B required ;") == ("a.B", {})
    with pytest.raises(ValueError, match="options as name="):
        parse_jaas('a.B required x "y";')


def test_a_region_is_in_the_name_of_a_broker():
    assert aws_region("b-1.x.ab12.c3.kafka.eu-west-1.amazonaws.com:9098") == "eu-west-1"
    assert aws_region("boot-1.kafka-serverless.us-east-1.amazonaws.com:9098") == "us-east-1"
    assert aws_region("kafka1:9092") == ""
