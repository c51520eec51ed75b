# SPDX-License-Identifier: Apache-2.0
import gc
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from dbnet_trt.data import packed
from dbnet_trt.data.packed import PackedSamples
from dbnet_trt.data.samples import Sample, Text


def make_samples(rng: np.random.Generator, count: int, exact: bool = False) -> list[Sample]:
    samples = []
    for index in range(count):
        texts = []
        for _ in range(int(rng.integers(0, 6))):
            points = rng.random((int(rng.integers(3, 15)), 2)) * 600
            polygon = points.astype(np.float32).astype(np.float64) if exact else points
            texts.append(Text(polygon, bool(rng.random() < 0.3), "word"))
        samples.append(
            Sample(
                Path(f"/data/é {index % 7}/image_{index}.jpg"),
                tuple(texts),
                (4 / 3, 1.125) if index % 3 else (1.0, 1.0),
                ("", "train", "val", "test")[index % 4],
                Path(f"maps/{index}.png") if index % 5 == 0 else None,
                index % 2 == 1,
            )
        )
    return samples


def assert_same(one: Sample, other: Sample) -> None:
    for name in ("image", "stretch", "part", "prob_map", "upright"):
        assert getattr(one, name) == getattr(other, name)
    assert len(one.texts) == len(other.texts)
    for text, expected in zip(one.texts, other.texts, strict=True):
        assert text.polygon.dtype == np.float64
        np.testing.assert_array_equal(text.polygon, expected.polygon)
        assert text.ignore == expected.ignore


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("shared_from", [0, 1 << 40])
def test_samples_come_out_as_they_went_in(
    rng: np.random.Generator, exact: bool, shared_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "SHARED_FROM_BYTES", shared_from)
    samples = make_samples(rng, 50, exact)
    kept = PackedSamples(samples)
    again = pickle.loads(pickle.dumps(kept))
    for found in (kept, again):
        assert len(found) == 50
        for one, other in zip(found, samples, strict=True):
            assert_same(one, other)
        assert_same(found[-1], samples[-1])
        assert len(found[10:20]) == 10
        with pytest.raises(IndexError):
            found[50]


def test_no_samples() -> None:
    assert list(PackedSamples([])) == []
    assert next(iter(PackedSamples([Sample(Path("a.jpg"), ())]))).texts == ()


def test_large_ones_are_a_file_that_goes_with_them(
    rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "SHARED_FROM_BYTES", 0)
    monkeypatch.setattr(packed.tempfile, "tempdir", str(tmp_path))
    kept = PackedSamples(make_samples(rng, 200))
    assert len(pickle.dumps(kept)) < 1000
    assert len(list(tmp_path.iterdir())) == 1
    again = pickle.loads(pickle.dumps(kept))
    assert len(list(tmp_path.iterdir())) == 1
    assert isinstance(again._arrays.points.base, np.memmap)
    del kept
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert len(list(again)) == 200  # mapped still


def test_no_room_for_the_file(
    rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "SHARED_FROM_BYTES", 0)
    monkeypatch.setattr(packed.tempfile, "tempdir", str(tmp_path / "none"))
    samples = make_samples(rng, 20)
    again = pickle.loads(pickle.dumps(PackedSamples(samples)))
    assert_same(again[19], samples[19])


def test_memory_is_near_that_of_the_coordinates(rng: np.random.Generator) -> None:
    count, texts = 2000, 9
    samples = [
        Sample(
            Path(f"/data/{index % 200}/image_{index}.jpg"),
            tuple(Text(rng.random((4, 2)) * 600, content="word") for _ in range(texts)),
        )
        for index in range(count)
    ]
    data = pickle.dumps(PackedSamples(samples))
    del samples
    gc.collect()
    tracemalloc.start()
    again = pickle.loads(data)
    held = tracemalloc.get_traced_memory()[0] / (count * texts)
    tracemalloc.stop()
    assert len(again) == count
    assert held < 100  # bytes per text, of which 64 are coordinates
