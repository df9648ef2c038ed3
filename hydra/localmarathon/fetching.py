"""Puts files from HTTP or this machine into a task's sandbox before its command runs."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

import aiohttp

from hydra.localmarathon.app_definition import FetchUri
from hydra.localmarathon.threads import in_thread

_TIMEOUT = aiohttp.ClientTimeout(total=600, sock_connect=10, sock_read=60)
_CHUNK_BYTES = 256 * 1024
_PIECE_BYTES = 4 * 1024 * 1024


class FetchError(Exception):
    """A file cannot be fetched; the text says which and why."""


async def fetch_all(items: Iterable[FetchUri], sandbox: Path) -> None:
    """Fetch the files one after the other, and log each in the sandbox's ``stderr``.

    Raises:
        FetchError: one cannot be fetched.
    """
    for item in items:
        _log(sandbox, f"Fetching URI '{item.uri}'")
        try:
            await _fetch(item, sandbox)
        except (OSError, ValueError, aiohttp.ClientError, asyncio.TimeoutError) as error:
            cause = "timed out" if isinstance(error, asyncio.TimeoutError) else str(error) or type(error).__name__
            reason = f"Failed to fetch '{item.uri}': {cause}"
            _log(sandbox, reason)
            raise FetchError(reason) from error


def _log(sandbox: Path, text: str) -> None:
    with (sandbox / "stderr").open("a") as file:
        file.write(f"{text}\n")


async def _fetch(item: FetchUri, sandbox: Path) -> None:
    split = urlsplit(item.uri)
    if not item.file_name:
        raise ValueError("the URI does not name a file")
    target = sandbox / item.file_name
    target.parent.mkdir(parents=True, exist_ok=True)
    if split.scheme in ("http", "https"):
        await _download(item.uri, target)
    elif split.scheme in ("", "file"):
        path = Path(unquote(split.path))
        if not path.is_absolute():
            raise ValueError("the path of a local file must be absolute")
        await _copy(path, target)
    else:
        raise ValueError(f"the local Marathon does not support {split.scheme}, only http, https and file")
    if item.executable:
        target.chmod(target.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


async def _copy(path: Path, target: Path) -> None:
    """Copy a regular file, in pieces: a thread that copies cannot be stopped, and the server waits for it at its end.

    A device or a pipe may have no end, or never say anything.
    """
    with await in_thread(_open_regular, path) as original, target.open("wb") as copy:
        while await in_thread(_copy_piece, original, copy):
            pass


def _open_regular(path: Path) -> BinaryIO:
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")
    return path.open("rb")


def _copy_piece(original: BinaryIO, copy: BinaryIO) -> int:
    return copy.write(original.read(_PIECE_BYTES))


async def _download(url: str, target: Path) -> None:
    async with aiohttp.ClientSession(timeout=_TIMEOUT, auto_decompress=False) as session, session.get(url) as response:
        if response.status != 200:
            raise ValueError(f"HTTP {response.status}")
        with target.open("wb") as file:
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                file.write(chunk)
