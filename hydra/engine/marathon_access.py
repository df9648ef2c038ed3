"""How Marathon is reached: its addresses, the credentials and the CA file.

Secrets come from a private file or the environment, and go into the header of a request only.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe

from hydra.errors import MarathonError, UsageError
from hydra.files.atomic_write import reason_of, write_secret
from hydra.files.bounded_read import read_bounded
from hydra.files.private_file import check_private, read_file
from hydra.options.options import Options

SECRET_NAMES = ("user", "password", "authorization")
_SECRET = re.compile(rf"\s*(?:({'|'.join(SECRET_NAMES)})\s*=|((?i:authorization))\s*:)\s*(\S|\S.*\S)\s*")
"""``name = value``, or a header as curl takes it from a file."""

ENVIRONMENT_PREFIX = "HYDRA_MARATHON_"
MAX_SECRETS_BYTES = 64 * 1024
MAX_CA_BYTES = 4 * 1024 * 1024
TOKEN_BYTES = 32
TOKEN_FILE = "authorization"  # noqa: S105
"""In the folder of a local stack: the token of its Marathon."""


@dataclass(frozen=True)
class MarathonAccess:
    """What a connection to Marathon needs."""

    urls: tuple[str, ...]
    """Addresses of one Marathon: the first one that responds is used."""
    local: bool = False
    """Whether it is a local Marathon: then the environment's proxies are ignored."""
    user: str = ""
    password: str = field(default="", repr=False)
    authorization: str = field(default="", repr=False)
    """The whole value of the header, such as ``token=...``."""
    ca_file: str | None = None
    timeout_s: float = 10.0


def new_token(file: Path) -> str:
    """A token for a local Marathon, which is written into a new file that its owner alone may read.

    The file is a header as ``curl -H @FILE`` takes it: ``Authorization: Bearer TOKEN``.

    Raises:
        OSError: the file cannot be made.
    """
    token = token_urlsafe(TOKEN_BYTES)
    write_secret(file, f"Authorization: Bearer {token}\n".encode())
    return token


def read_token(file: Path) -> str:
    """The token in a file that ``new_token`` wrote, or a user in its place.

    Raises:
        UsageError: the file cannot be read, may be read by others, or has no token.
    """
    header = _read_secrets(file, "--token").get("authorization", "")
    scheme, _, rest = header.partition(" ")
    token = rest.strip()
    if scheme.lower() != "bearer" or not token or not token.isascii() or not token.isprintable():
        raise UsageError(f"--token={file} has no line 'Authorization: Bearer TOKEN'")
    return token


def local_access(url: str, folder: Path) -> MarathonAccess:
    """The access to the local Marathon of a stack, whose token is in the stack's folder.

    Raises:
        MarathonError: it is not there.
    """
    try:
        content = read_bounded(folder / TOKEN_FILE, MAX_SECRETS_BYTES, own=True)
        header = content.decode("ascii").partition(":")[2].strip()
    except (OSError, ValueError) as error:
        raise MarathonError(f"the token of the local Marathon at {url} cannot be read ({error})") from error
    return MarathonAccess((url,), local=True, authorization=header)


def given_access(options: Options, environment: Mapping[str, str] = os.environ) -> MarathonAccess:
    """The access to the Marathon that ``marathon_url`` names.

    Raises:
        UsageError: the secrets or the CA file cannot be used; names the file, never its content.
    """
    assert options.marathon_url is not None
    if options.marathon_secrets is not None:
        secrets = _read_secrets(Path(options.marathon_secrets))
    else:
        found = {name: environment.get(ENVIRONMENT_PREFIX + name.upper()) for name in SECRET_NAMES}
        secrets = {name: value for name, value in found.items() if value}
    for name, value in secrets.items():
        if not value.isprintable() or (name == "authorization" and not value.isascii()):
            raise UsageError(f"Marathon's {name} has characters that no HTTP header can carry")
    if "authorization" in secrets and len(secrets) > 1:
        raise UsageError("Marathon's secrets have an authorization beside user or password", hint="keep one of them")
    if ("user" in secrets) != ("password" in secrets):
        raise UsageError("Marathon's secrets have a user without a password, or a password without a user")
    if (ca_file := options.marathon_ca_file) is not None:
        try:
            read_bounded(Path(ca_file), MAX_CA_BYTES)  # OpenSSL would read a device without end, and wait for a pipe
            ssl.create_default_context(cafile=ca_file)
        except ssl.SSLError as error:
            raise UsageError(f"--marathon_ca_file={ca_file} holds no certificates (PEM)") from error
        except (OSError, ValueError) as error:
            raise UsageError(f"--marathon_ca_file={ca_file} cannot be read ({reason_of(error)})") from error
    return MarathonAccess(
        tuple(options.marathon_url.split(",")),
        user=secrets.get("user", ""),
        password=secrets.get("password", ""),
        authorization=secrets.get("authorization", ""),
        ca_file=options.marathon_ca_file,
        timeout_s=options.marathon_timeout,
    )


def _read_secrets(path: Path, flag: str = "--marathon_secrets") -> dict[str, str]:
    """Read lines ``name = value``, or a header, from a file that only its owner may read; no error shows a value."""
    origin = f"{flag}={path}"
    content = read_file(str(path), origin)
    check_private(str(path), origin)
    secrets: dict[str, str] = {}
    for number, line in enumerate(content.decode(errors="replace").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _SECRET.fullmatch(line)
        if match is None:
            raise UsageError(f"{origin}: line {number} is not {', '.join(SECRET_NAMES)} = value")
        name, value = (match[1] or match[2]).lower(), match[3]
        if name in secrets:
            raise UsageError(f"{origin}: line {number} has {name} a second time")
        secrets[name] = value
    if not secrets:
        raise UsageError(f"{origin} is empty", hint=f"it holds lines {', '.join(SECRET_NAMES)} = value")
    return secrets
