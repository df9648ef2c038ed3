"""What lies in a task's sandbox before its command runs: files from HTTP or of this machine; archives are unpacked."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import stat
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import aiohttp

from hydra.localmarathon.json_fields import JsonFields
from hydra.localmarathon.refusals import Violation

_TIMEOUT = aiohttp.ClientTimeout(total=600, sock_connect=10, sock_read=60)
_PIECE_BYTES = 256 * 1024
_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_ARCHIVE_SUFFIXES = (*_TAR_SUFFIXES, ".gz", ".zip")


class FetchError(Exception):
    """A file cannot be had; says which and why."""


@dataclass(frozen=True)
class FetchUri:
    """One file that a task wants."""

    uri: str
    extract: bool = True
    executable: bool = False
    cache: bool = False  # without effect
    dest_path: str | None = None

    def document(self) -> dict[str, object]:
        """The JSON object in ``fetch``."""
        placed = {} if self.dest_path is None else {"destPath": self.dest_path}
        return {
            "uri": self.uri, "extract": self.extract, "executable": self.executable, "cache": self.cache, **placed
        }  # fmt: skip


def read_fetch(app: JsonFields) -> tuple[FetchUri, ...]:
    """``fetch``, or the older ``uris``; faults are noted in ``app``."""
    uris, items = app.texts("uris") or (), app.objects("fetch")
    # Who reads an app and writes it back sends what stood in the answer beside what was written.
    if uris and items and list(uris) != [item.text("uri") for item in items]:
        app.broken("", "AppDefinition must either contain 'fetch' or 'uris', not both")
    if not items:
        return tuple(FetchUri(uri, extract=uri.lower().endswith(_ARCHIVE_SUFFIXES)) for uri in uris)
    return tuple(_read_item(item) for item in items)


def _read_item(item: JsonFields) -> FetchUri:
    item.refuse_unknown(frozenset({"uri", "extract", "executable", "cache", "destPath"}))
    uri, dest_path = item.text("uri"), item.text("destPath")
    if uri is None:
        item.violations.types.append(Violation(f"{item.path}/uri", "error.path.missing"))
    if dest_path is not None and (Path(dest_path).is_absolute() or ".." in Path(dest_path).parts):
        item.broken("destPath", "must be a relative path inside of the sandbox")
    return FetchUri(
        uri=uri or "",
        extract=item.flag("extract", default=True),
        executable=item.flag("executable", default=False),
        cache=item.flag("cache", default=False),
        dest_path=dest_path,
    )


async def fetch_all(items: tuple[FetchUri, ...], sandbox: Path) -> None:
    """Fetch the files one after the other; the sandbox's ``stderr`` tells of each.

    Raises:
        FetchError: one cannot be had.
    """
    for item in items:
        _note(sandbox, f"Fetching URI '{item.uri}'")
        try:
            await _fetch(item, sandbox)
        except asyncio.TimeoutError:
            _fail(sandbox, item, "no answer in time")
        except Exception as error:  # noqa: BLE001  # every kind of archive has its own errors for what is broken
            _fail(sandbox, item, str(error) or type(error).__name__)


def _fail(sandbox: Path, item: FetchUri, why: str) -> None:
    reason = f"Failed to fetch '{item.uri}': {why}"
    _note(sandbox, reason)
    raise FetchError(reason)


def _note(sandbox: Path, text: str) -> None:
    with (sandbox / "stderr").open("a") as file:
        file.write(f"{text}\n")


async def _fetch(item: FetchUri, sandbox: Path) -> None:
    split = urlsplit(item.uri)
    name = item.dest_path or Path(unquote(split.path)).name
    if not name:
        raise ValueError("it names no file")
    target = sandbox / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if split.scheme in ("http", "https"):
        await _download(item.uri, target)
    elif split.scheme in ("", "file"):
        path = Path(unquote(split.path))
        if not path.is_absolute():
            raise ValueError("a file of the agent needs an absolute path")
        await asyncio.to_thread(shutil.copyfile, path, target)
    else:
        raise ValueError(f"the local Marathon fetches http, https and file, not {split.scheme}")
    if item.executable:
        target.chmod(target.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    elif item.extract:
        await asyncio.to_thread(_extract, target, sandbox)


async def _download(url: str, target: Path) -> None:
    async with aiohttp.ClientSession(timeout=_TIMEOUT, auto_decompress=False) as session, session.get(url) as answer:
        if answer.status != 200:
            raise ValueError(f"HTTP {answer.status}")
        with target.open("wb") as file:
            async for piece in answer.content.iter_chunked(_PIECE_BYTES):
                file.write(piece)


def _extract(archive: Path, sandbox: Path) -> None:
    """Unpack an archive into the sandbox, by the suffix of its name; anything else stays as it is."""
    name = archive.name.lower()
    if name.endswith(_TAR_SUFFIXES):
        with tarfile.open(archive) as tar:
            tar.extractall(sandbox, filter="data")
    elif name.endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(sandbox)  # noqa: S202  # it keeps to the folder by itself
    elif name.endswith(".gz"):
        with gzip.open(archive) as packed_file, (sandbox / archive.name[:-3]).open("wb") as plain:
            shutil.copyfileobj(packed_file, plain)
