# SPDX-License-Identifier: Apache-2.0
"""Selection of training and validation samples, and errors while loading them."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from dbnet_trt import ImageError
from dbnet_trt.errors import TrainingError
from dbnet_trt.training.augment import AugmentConfig
from dbnet_trt.training.distributed import ALONE, Ranks, share_out
from dbnet_trt.training.loader import (
    Crop,
    CropStream,
    Source,
    check_texts,
    load_crops,
    read_samples,
    read_sources,
    with_plain_errors,
)
from dbnet_trt.training.targets import TargetConfig
from photos import write_lines, write_photo
from torch import distributed

BOX = [[10, 20], [60, 20], [60, 40], [10, 40]]


def write_samples(folder: Path, count: int, texts: list[dict[str, object]]) -> str:
    """Write a data set whose images all have these texts."""
    for number in range(count):
        write_photo(folder / f"{number}.png")
    records = [json.dumps({"image": f"{number}.png", "texts": texts}) for number in range(count)]
    return f"jsonl:{write_lines(folder / 'labels.jsonl', *records)}"


@pytest.mark.parametrize("weight", ["0", "-1", "many", "inf"])
def test_bad_weight_of_a_data_set(tmp_path: Path, weight: str) -> None:
    data = write_samples(tmp_path, 1, [{"polygon": BOX}])
    assert [source.weight for source in read_sources((data, f"{data}*2"))] == [1, 2]
    with pytest.raises(ValueError, match="expected a weight above 0"):
        read_sources((f"{data}*{weight}",))


@pytest.mark.parametrize("texts", [[], [{"polygon": BOX, "ignore": True}]])
def test_data_without_text(tmp_path: Path, texts: list[dict[str, object]]) -> None:
    samples = read_samples(write_samples(tmp_path / "all", 1, [{"polygon": BOX}]))
    empty = read_samples(write_samples(tmp_path / "empty", 1, texts))
    with pytest.raises(ValueError, match="no text to learn in data"):
        check_texts([Source(empty, 1)], [])
    with pytest.raises(ValueError, match="no text to find in validation"):
        check_texts([Source(samples, 1)], empty)
    check_texts([Source(empty, 1), Source(samples, 1)], [])  # images without text are allowed


def test_warning_if_validation_images_are_training_images(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = write_samples(tmp_path, 7, [{"polygon": BOX}])
    validation = read_samples(f"{data}#val")
    check_texts(read_sources((f"{data}#train",)), validation)
    assert "training images" not in caplog.text
    check_texts(read_sources((data,)), validation)
    assert (
        f"{len(validation)} of {len(validation)} validation images are also training" in caplog.text
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_missing_image(tmp_path: Path, workers: int) -> None:
    sources = read_sources((write_samples(tmp_path, 1, [{"polygon": BOX}]),))
    (tmp_path / "0.png").unlink()
    stream = CropStream(sources, AugmentConfig(64), TargetConfig(), 0)
    with pytest.raises(ImageError) as caught:
        list(load_crops(stream, (0, 1), 1, workers))
    assert str(caught.value) == f"there is no file {tmp_path / '0.png'}"
    assert "\n" not in str(caught.value)


def test_killed_worker() -> None:
    def crops() -> Iterator[Crop]:
        raise RuntimeError("DataLoader worker (pid 3) is killed by signal: Bus error. \nRaise it.")
        yield

    with pytest.raises(TrainingError, match=r"Bus error\. Raise it\.\).*--shm-size"):
        list(with_plain_errors(crops()))


@pytest.mark.parametrize("num_items", [0, 1, 2, 7])
def test_each_item_is_worked_on_by_one_process(
    num_items: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = list(range(num_items))
    parts = [[10 * item for item in items[rank::3]] for rank in range(3)]
    done: list[int] = []

    def work(share: Sequence[int]) -> Iterator[int]:
        done.extend(share)
        return (10 * item for item in share)

    def gather(target: list[list[int]], own: list[int]) -> None:
        assert own == parts[1]
        target[:] = parts

    monkeypatch.setattr(distributed, "all_gather_object", gather)
    ranks = Ranks(1, 3, torch.device("cpu"))
    assert share_out(items, work, ranks) == [10 * item for item in items]
    assert done == items[1::3]
    assert share_out(items, work, ALONE) == [10 * item for item in items]
