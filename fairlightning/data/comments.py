"""Comments with the identities that they mention, as in Civil Comments and Jigsaw's tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairlightning.data.table import check_columns, read_table
from fairlightning.data.tabular import TabularDataModule
from fairlightning.data.values import check_complete, numbers
from fairlightning.exceptions import DataError

IDENTITIES = ("male", "female", "black", "white", "christian", "muslim")


def civil_comments(
    source: str | Path | pd.DataFrame,
    embed: Callable[[list[str]], Any],
    text: str = "comment_text",
    target: str = "target",
    identities: Sequence[str] = IDENTITIES,
    threshold: float = 0.5,
    **overrides: Any,
) -> TabularDataModule:
    """Toxicity of comments (Borkan et al. 2019, arXiv:1903.04561), on embeddings of your choice.

    Each identity is a sensitive attribute, mentioned or not: a share of annotators at or above
    `threshold`. It is unknown where nobody was asked (the cell is empty).

    Args:
        source: The table, such as `train.csv` of "Jigsaw Unintended Bias in Toxicity
            Classification", with a column of text, a label and a column for each identity.
        embed: From N texts to numbers `(N, D)`, such as `SentenceTransformer(...).encode`.
        text: Column of the text.
        target: Column of the share of annotators who found it toxic.
        identities: Columns of identities.
        threshold: Share from which label and identities count as given.
        **overrides: Arguments of `TabularDataModule`.

    Raises:
        DataError: In `setup`, if a column or the label of a comment is missing, a share is no
            number, or `embed` gives no row for each text.
    """

    def read() -> pd.DataFrame:
        table = read_table(source)
        check_columns(table, [text, target, *identities], "text, target, identities")
        # Before embedding, which can take hours.
        check_complete(table[target])
        shares = pd.DataFrame(numbers(table, [target, *identities]), columns=[target, *identities])
        texts = table[text].fillna("").astype(str).tolist()
        vectors = np.asarray(embed(texts), dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise DataError.of(
                "embed",
                found=f"shape {vectors.shape} for {len(texts)} texts",
                expected="(N, D): a vector for each text",
                mend="stack the vectors to one array",
            )
        columns = {f"embedding_{i}": column for i, column in enumerate(vectors.T)}
        for name in identities:
            said = shares[name] >= threshold
            columns[name] = pd.Series(np.where(said, "yes", "no"), dtype="string").where(
                shares[name].notna()
            )
        columns["toxic"] = (shares[target] >= threshold).astype(int)
        return pd.DataFrame(columns)

    sensitive = {name: ["no", "yes"] for name in identities}
    return TabularDataModule(read, "toxic", sensitive, **overrides)
