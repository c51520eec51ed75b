# SPDX-License-Identifier: Apache-2.0
"""The plan of a bulk run: which images make a part, fixed in the folder of the results.

A part is a row group of a Parquet file: of one in `_plan/`, which lists paths, or of an input that
holds encoded images. Its results are one file, named after it and written whole. So what is done is
what is there, and doing a part again changes nothing.
"""

from __future__ import annotations

import io
import json
import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from ..errors import DBNetError
from ..files import parse_json
from .inputs import Encoded
from .storage import Storage

RUN_FILE = "_run.json"
SOURCES_FILE = "_plan/sources.json"
PATHS_FILE = "_plan/paths-{:04d}.parquet"
PART_FILE = "part-{:04d}-{:06d}.parquet"

PARTS_PER_ACTOR = 4
"""Number of parts per actor below which parts are smaller, so that all actors have work to the
end."""


@dataclass(frozen=True, slots=True)
class Part:
    """Images whose results are one file."""

    source: int
    """Number of the Parquet file."""

    group: int
    """Number of its row group."""

    num_images: int

    row: int | None = None
    """The only row that is wanted, where others end the process."""

    @property
    def name(self) -> str:
        """Name of the file of results."""
        return PART_FILE.format(self.source, self.group)


@dataclass(frozen=True, slots=True)
class Plan:
    """All parts of a run."""

    sources: tuple[Encoded, ...] = ()
    """The Parquet files; those in `_plan/` are named without the folder of the results."""

    num_duplicates: int = 0
    """Number of paths that were named more than once."""

    @property
    def num_images(self) -> int:
        """Number of images: paths, or rows of encoded images."""
        return sum(map(sum, (source.groups for source in self.sources)))

    def parts(self) -> Iterator[Part]:
        """Yield the parts that hold an image."""
        for number, source in enumerate(self.sources):
            for group, num_images in enumerate(source.groups):
                if num_images:
                    yield Part(number, group, num_images)

    def parts_left(self, output: str, storage: Storage) -> list[Part]:
        """List the parts without results."""
        done = set(storage.names(output))
        return [part for part in self.parts() if part.name not in done]


def is_paths(source: Encoded) -> bool:
    """Whether a source of a plan lists paths."""
    return source.file.startswith("_plan/")


def join(output: str, name: str) -> str:
    """Return the path of a file in the folder of the results."""
    return f"{output.rstrip('/')}/{name}"


def read_plan(output: str, storage: Storage) -> Plan:
    """Read the plan of an earlier run; an empty one if there is none.

    Raises:
        ValueError: It is damaged.
    """
    path = join(output, SOURCES_FILE)
    if not storage.exists(path):
        return Plan()
    try:
        rows = parse_json(storage.read(path).decode())
        sources = (Encoded(row["file"], row["column"], row["name"], tuple(row["groups"]))
                   for row in rows)  # fmt: skip
        return Plan(tuple(sources))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); name another folder") from None


def extend_plan(
    plan: Plan,
    found: Iterable[str | Encoded],
    output: str,
    storage: Storage,
    *,
    max_images: int,
    num_actors: int,
) -> Plan:
    """Add to a plan what is not in it yet, and write it.

    Args:
        plan: The plan of an earlier run, or an empty one.
        found: Absolute paths and files of encoded images, from `find_inputs`.
        output: Folder of the results.
        storage: File system of that folder.
        max_images: Maximum number of paths per part.
        num_actors: Number of actors that share the parts.

    Raises:
        ValueError: A file of encoded images is another than it was.
        OSError: The plan cannot be written.
    """
    known = {source.file: source for source in plan.sources}
    encoded: list[Encoded] = []
    fresh = _Fresh(_known_paths(plan, output, storage), known, encoded)
    paths = fresh.paths(found)
    name = PATHS_FILE.format(len(plan.sources))
    groups = _write_paths(join(output, name), paths, storage, max_images, num_actors)
    listed = [Encoded(name, "path", None, groups)] if groups else []
    if listed or encoded:
        plan = Plan((*plan.sources, *listed, *encoded))
        rows = [{"file": each.file, "column": each.column, "name": each.name,
                 "groups": each.groups} for each in plan.sources]  # fmt: skip
        storage.write(join(output, SOURCES_FILE), json.dumps(rows).encode())
    return replace(plan, num_duplicates=fresh.num_duplicates)


@dataclass(slots=True)
class Count:
    """What a run would have to do."""

    num_images: int = 0
    num_left: int = 0
    num_duplicates: int = 0
    sample: list[str | Encoded] = field(default_factory=list)
    """Some of the paths, or files of encoded images, chosen at random."""


def count_images(
    plan: Plan, found: Iterable[str | Encoded], output: str, storage: Storage, num_sampled: int
) -> Count:
    """Count what `extend_plan` would add and what is left, and write nothing."""
    num_left = sum(part.num_images for part in plan.parts_left(output, storage))
    known = {source.file: source for source in plan.sources}
    encoded: list[Encoded] = []
    fresh = _Fresh(_known_paths(plan, output, storage), known, encoded)
    counted = Count(plan.num_images, num_left)
    chance = random.Random(0)
    for number, path in enumerate(_sampled(fresh, found, encoded)):
        size = 1 if isinstance(path, str) else sum(path.groups)
        counted.num_images += size
        counted.num_left += size
        if number < num_sampled:
            counted.sample.append(path)
        elif (at := chance.randrange(number + 1)) < num_sampled:
            counted.sample[at] = path
    counted.num_duplicates = fresh.num_duplicates
    return counted


def _sampled(
    fresh: _Fresh, found: Iterable[str | Encoded], encoded: list[Encoded]
) -> Iterator[str | Encoded]:
    yield from fresh.paths(found)
    yield from encoded


class _Fresh:
    """What a plan does not hold."""

    def __init__(self, before: set[int], known: dict[str, Encoded], encoded: list[Encoded]) -> None:
        self.num_duplicates = 0
        # Hashes, as there may be millions: 70 MB each.
        self._before, self._now = before, set[int]()
        self._known, self._encoded = known, encoded

    def paths(self, found: Iterable[str | Encoded]) -> Iterator[str]:
        """Yield the new paths, and add the new files of encoded images to the list."""
        for each in found:
            if isinstance(each, Encoded):
                self._add(each)
                continue
            key = hash(each)
            if key in self._now:
                self.num_duplicates += 1
                continue
            self._now.add(key)
            if key not in self._before:
                yield each

    def _add(self, found: Encoded) -> None:
        before = self._known.get(found.file)
        if before is None:
            self._known[found.file] = found
            self._encoded.append(found)
        elif before in self._encoded:
            self.num_duplicates += sum(found.groups)
        elif before != found:
            raise ValueError(
                f"{found.file} is another than when this run was begun (its rows or columns "
                "differ); name another folder for its results"
            )


def _known_paths(plan: Plan, output: str, storage: Storage) -> set[int]:
    known: set[int] = set()
    for source in filter(is_paths, plan.sources):
        file = storage.open_parquet(join(output, source.file))
        for batch in file.iter_batches(columns=["path"]):
            known.update(hash(os.fsdecode(path)) for path in batch.column(0).to_pylist())
    return known


def _write_paths(
    path: str, paths: Iterator[str], storage: Storage, max_images: int, num_actors: int
) -> tuple[int, ...]:
    """Write paths, one row group per part; returns the numbers of rows of the groups."""
    import pyarrow
    from pyarrow import parquet

    first = list(islice(paths, max_images * num_actors * PARTS_PER_ACTOR))
    if not first:
        return ()
    size = min(max_images, -(-len(first) // (num_actors * PARTS_PER_ACTOR)))
    schema = pyarrow.schema([("path", pyarrow.binary())])  # names of files may be no UTF-8
    sink, groups = io.BytesIO(), []
    with parquet.ParquetWriter(sink, schema, write_statistics=False, use_dictionary=False) as file:
        for group in _cut(first, paths, size):
            file.write_table(pyarrow.table([[os.fsencode(each) for each in group]], schema=schema))
            groups.append(len(group))
    storage.write(path, sink.getvalue())
    return tuple(groups)


def _cut(first: list[str], others: Iterator[str], size: int) -> Iterator[list[str]]:
    for begin in range(0, len(first), size):
        yield first[begin : begin + size]
    while group := list(islice(others, size)):
        yield group


def check_run(output: str, storage: Storage, run: dict[str, Any]) -> None:
    """Check that results were made with the same model and options, or note how they are made.

    Raises:
        ValueError: They were not.
    """
    path = join(output, RUN_FILE)
    now = json.loads(json.dumps(run))
    if not storage.exists(path):
        storage.write(path, (json.dumps(now, indent=1) + "\n").encode())
        return
    try:
        before = parse_json(storage.read(path).decode())
    except (ValueError, DBNetError) as error:
        raise ValueError(f"{path} is damaged ({error}); name another folder") from None
    before = before if isinstance(before, dict) else {}
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise ValueError(
                f"{output} was made with {name} {json.dumps(before.get(name))}, now it is "
                f"{json.dumps(now.get(name))}; give the same, or name another folder"
            )
