"""Files of published data sets: fetched once into a cache, checked, or placed there by hand."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from zipfile import BadZipFile

import pandas as pd
from rich.progress import wrap_file

from fairlightning.data.tabular import TabularDataModule
from fairlightning.exceptions import DataError

CACHE = "~/.cache/fairlightning"
"""Folder of the files, unless an argument or FAIRLIGHTNING_CACHE names another."""


@dataclass(frozen=True)
class Download:
    """A file that somebody publishes.

    Attributes:
        url: Where it is.
        name: What it is called in the cache.
        sha256: Checksum of its content; None where the publisher may correct it.
    """

    url: str
    name: str
    sha256: str | None = None

    def fetch(self, cache_dir: str | Path | None = None) -> Path:
        """Give the path of the file, after downloading it if it is not in the cache.

        Args:
            cache_dir: Folder of the cache; None for the default.

        Raises:
            DataError: If it cannot be downloaded (the message says where to place it by hand), or
                its content is not what it was.
        """
        folder = Path(cache_dir or os.environ.get("FAIRLIGHTNING_CACHE", CACHE)).expanduser()
        path = folder / self.name
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            self._download(path, part)
            self._check(part)
            part.replace(path)
        self._check(path)
        return path

    def _download(self, path: Path, part: Path) -> None:
        try:
            with urlopen(self.url, timeout=30) as answer, part.open("wb") as file:
                total = int(answer.headers.get("Content-Length") or 0)
                with wrap_file(answer, total, description=self.name, transient=True) as bar:
                    while chunk := bar.read(1 << 16):
                        file.write(chunk)
        except OSError as error:  # no network, no such page, a connection that broke
            part.unlink(missing_ok=True)
            raise DataError.of(
                self.name,
                found=f"no file {str(path)!r}, and {self.url} cannot be read ({error})",
                expected="the file in the cache, or a connection",
                mend=f"download {self.url} elsewhere and place it at {path}",
            ) from error

    def _check(self, path: Path) -> None:
        if self.sha256 is None:
            return
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != self.sha256:
            raise DataError.of(
                self.name,
                found=f"sha256 {found} of {str(path)!r}",
                expected=self.sha256,
                mend="delete the file and let it be downloaded again, or pass it as files=[...] "
                "if you mean to use another version",
            )


@dataclass(frozen=True)
class PublishedTable:
    """A published data set as a data module, by declaration.

    Attributes:
        downloads: Its files.
        read: From the paths of the files to one table.
        columns: Arguments of `TabularDataModule`: label, sensitive attributes, features.
    """

    downloads: Sequence[Download]
    read: Callable[[Sequence[Path]], pd.DataFrame]
    columns: Mapping[str, Any] = field(default_factory=dict)

    def __call__(
        self,
        files: Sequence[str | Path] | None = None,
        cache_dir: str | Path | None = None,
        **overrides: Any,
    ) -> TabularDataModule:
        """Make the data module; nothing is read before its `setup`.

        Args:
            files: Paths of the files, in place of a download.
            cache_dir: Folder of the cache; None for the default.
            overrides: Arguments of `TabularDataModule` that replace those of the data set.
        """

        def table() -> pd.DataFrame:
            if files is not None and len(files) != len(self.downloads):
                names = [download.name for download in self.downloads]
                raise DataError.of(
                    "files", found=list(map(str, files)), expected=f"{names}", mend="name them all"
                )
            paths = files or [download.fetch(cache_dir) for download in self.downloads]
            try:
                return self.read([Path(path) for path in paths])
            except (KeyError, ValueError, AttributeError, OSError, BadZipFile) as error:
                raise DataError.of(
                    ", ".join(map(str, paths)),
                    found=f"another form than that of {self.downloads[0].url} ({error})",
                    expected="the file as it is published",
                    mend="download it again, or read it with pandas and pass the table to "
                    "TabularDataModule",
                ) from error

        return TabularDataModule(table, **{**self.columns, **overrides})
