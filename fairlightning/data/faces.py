"""Photographs of faces, from the official files of CelebA and UTKFace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fairlightning.data.arrays import ArrayDataModule, Arrays
from fairlightning.data.loader import check_at_least
from fairlightning.data.table import check_columns
from fairlightning.exceptions import DataError, SetupError

CELEBA_PARTS = {0: "train", 1: "validation", 2: "test"}
UTK_GENDER = {"0": "male", "1": "female"}
UTK_RACE = {"0": "White", "1": "Black", "2": "Asian", "3": "Indian", "4": "Other"}


def celeba(
    root: str | Path,
    target: str = "Smiling",
    sensitive: Sequence[str] = ("Male",),
    size: int = 32,
    max_rows: int | None = None,
    **overrides: Any,
) -> ArrayDataModule:
    """CelebA (Liu et al., ICCV 2015), from its aligned images and its own split.

    Images are kept in memory: `size` 32 takes 2.5 GB for all 202,599. The terms of the data set
    forbid passing it on, so its files come from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html.

    Args:
        root: Folder with `img_align_celeba/`, `list_attr_celeba.txt`, `list_eval_partition.txt`.
        target: Attribute that is the label, such as `Smiling` or `Blond_Hair`.
        sensitive: Attributes that are sensitive, such as `Male` and `Young`.
        size: Height and width to which images are scaled.
        max_rows: Only so many images of each part of the split, the first ones.
        **overrides: Arguments of `ArrayDataModule`.

    Raises:
        DataError: If `max_rows` is below 1; in `setup`, if a file is missing or an attribute does
            not exist.
    """
    _check_rows(max_rows)

    def read() -> Arrays:
        folder = _folder(
            root, "img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt"
        )
        table = pd.read_csv(folder / "list_attr_celeba.txt", sep=r"\s+", skiprows=1)
        parts = pd.read_csv(
            folder / "list_eval_partition.txt", sep=r"\s+", header=None, index_col=0
        )
        check_columns(table, [target, *sensitive], "target, sensitive")
        table = (table > 0).astype(int)
        table["split"] = parts[1].reindex(table.index).map(CELEBA_PARTS)
        if max_rows is not None:
            table = table.groupby("split").head(max_rows)
        return Arrays(
            _images([folder / "img_align_celeba" / name for name in table.index], size), table
        )

    return ArrayDataModule(read, target, list(sensitive), **{"split": "split", **overrides})


def utkface(
    root: str | Path,
    target: str = "gender",
    sensitive: Sequence[str] = ("race",),
    size: int = 32,
    max_rows: int | None = None,
    **overrides: Any,
) -> ArrayDataModule:
    """UTKFace (Zhang et al., CVPR 2017), whose file names tell age, gender and race.

    Names are `[age]_[gender]_[race]_[date].jpg`; a few leave one out, and what is not told there is
    unknown. The files come from https://susanqq.github.io/UTKFace.

    Args:
        root: Folder of the aligned and cropped images.
        target: `gender`, or `over_30`, whether the age is above 30.
        sensitive: Those of `gender`, `race` and `over_30` that are sensitive.
        size: Height and width to which images are scaled.
        max_rows: Only so many images, the first ones by name.
        **overrides: Arguments of `ArrayDataModule`.

    Raises:
        DataError: If `max_rows` is below 1; in `setup`, if there are no images or columns, or the
            label of one is unknown or its name does not begin with an age.
    """
    _check_rows(max_rows)

    def read() -> Arrays:
        paths = sorted(path for path in _folder(root).iterdir() if path.suffix == ".jpg")
        paths = paths[:max_rows]
        facts = [path.name.split("_")[:-1] for path in paths]
        for path, fact in zip(paths, facts, strict=True):
            if not fact or not fact[0].isdecimal():
                raise DataError.of(
                    "root",
                    found=f"the image {path.name!r}",
                    expected="names that begin with an age, [age]_[gender]_[race]_[date].jpg",
                    mend="move what is no face of UTKFace elsewhere",
                )
        table = pd.DataFrame(
            {
                "over_30": [int(int(fact[0]) > 30) for fact in facts],
                "gender": [UTK_GENDER.get(fact[1]) if len(fact) > 1 else None for fact in facts],
                "race": [UTK_RACE.get(fact[2]) if len(fact) > 2 else None for fact in facts],
            }
        )
        return Arrays(_images(paths, size), table)

    positive = {"gender": "female"}.get(target)
    return ArrayDataModule(read, target, list(sensitive), **{"positive": positive, **overrides})


def _check_rows(max_rows: int | None) -> None:
    if max_rows is not None:
        check_at_least("max_rows", max_rows, 1)


def _folder(root: str | Path, *needed: str) -> Path:
    folder = Path(root).expanduser()
    missing = [str(folder / name) for name in needed if not (folder / name).exists()]
    if missing or not folder.is_dir():
        raise DataError.of(
            "root",
            found=f"no {', '.join(missing) or folder}",
            expected="the folder with the official files",
            mend="download and unpack them, and pass root=FOLDER",
        )
    return folder


def _images(paths: Iterable[Path], size: int) -> Tensor:
    """Read images as `(N, 3, size, size)` float32 in [0, 1]."""
    try:
        from PIL import Image
    except ImportError as error:
        raise SetupError.of(
            "images", found="no pillow", expected="it, to read them", mend="pip install pillow"
        ) from error
    pixels = []
    for path in paths:
        with Image.open(path) as image:
            pixels.append(np.asarray(image.convert("RGB").resize((size, size)), dtype=np.uint8))
    if not pixels:
        raise DataError.of("root", found="no images", expected="some .jpg", mend="check the folder")
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float().div_(255)
