"""Data sets of the Hugging Face hub, by `owner/name` or `owner/name:split`, through the package `datasets`."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from dialsum_cli.errors import DataError
from dialsum_cli.registry import HUB_ID

NAME = re.compile(rf"({HUB_ID.pattern})(?::([\w.-]+))?", re.ASCII)
FILES = (".csv", ".jsonl", ".parquet")


def named(path: str | Path) -> tuple[str, str | None] | None:
    """The data set and the split that are meant by a text; None for a `Path`, and where there is a file or folder."""
    found = NAME.fullmatch(path) if isinstance(path, str) else None
    if not found or Path(path).exists() or Path(path).suffix.lower() in FILES:
        return None
    return found[1], found[2]


def open_data_set(path: str | Path) -> tuple[list[str], Iterable[Mapping[str, object]]]:
    """A data set's columns and its rows, which are read from the disk as they are asked for.

    `datasets` downloads it to its cache first; a folder of that name is read in place of the hub, as it does.

    Raises:
        DataError: there is no such data set or split, it can't be reached, or has several splits and none is named.
    """
    import datasets

    found = named(path)
    assert found, "a file is read otherwise"
    name, split = found
    try:
        if split is None:
            split = _only_split(name, datasets.get_dataset_split_names(name))
        rows = datasets.load_dataset(name, split=split)
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise DataError(
            f"there is no file '{path}', and no data set either: {why}",
            "check the name: a CSV, JSONL or Parquet file, or owner/name:split of the hub",
        ) from error
    return list(rows.column_names), rows


def _only_split(name: str, splits: list[str]) -> str:
    if len(splits) != 1:
        raise DataError(f"the data set '{name}' has the splits {', '.join(splits)}", f"name one: {name}:{splits[-1]}")
    return splits[0]
