# SPDX-License-Identifier: Apache-2.0
"""The emulator finds races and errors."""

import pytest
from fakes.emulator import Emulator

SEEDS = range(1, 21)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("name", "expected"), [("tree_sum", 127 * 64), ("count", 128), ("warp_sum", 31 * 16)]
)
def test_right_kernels_run_clean(emulator: Emulator, name: str, expected: int, seed: int) -> None:
    emulator.configure(seed=seed, yield_one_in=2, check_races=True)
    assert emulator.fault(name) == expected
    assert emulator.first_race == ""


def test_missing_barrier_is_a_race(emulator: Emulator) -> None:
    emulator.configure(seed=1, check_races=True)
    emulator.fault("missing_barrier")
    assert "of shared memory" in emulator.first_race


def test_missing_barrier_gives_wrong_sums_under_random_schedules(emulator: Emulator) -> None:
    sums = set()
    for seed in SEEDS:
        emulator.configure(seed=seed)
        sums.add(emulator.fault("missing_barrier"))
    assert sums != {127 * 64}


def test_lost_update_is_a_race(emulator: Emulator) -> None:
    emulator.configure(seed=1, check_races=True)
    emulator.fault("lost_update")
    assert "after write" in emulator.first_race or "after read" in emulator.first_race


def test_shared_memory_starts_poisoned(emulator: Emulator) -> None:
    values = set()
    for seed in SEEDS:
        emulator.configure(seed=seed)
        values.add(emulator.fault("unset_shared"))
    assert len(values) > 10


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("divergent_barrier", "different barriers"),
        ("half_warp", "deadlock"),
        ("foreign_lane", "outside the mask"),
        ("not_in_mask", "not in the mask"),
        ("out_of_range", "outside of a shared array"),
        ("too_much_shared", "48 KiB"),
        ("no_threads", "1 to 1024 threads"),
        ("no_blocks", "at least one block"),
    ],
)
def test_faults_are_errors(emulator: Emulator, name: str, message: str, seed: int) -> None:
    emulator.configure(seed=seed)
    with pytest.raises(RuntimeError, match=message):
        emulator.fault(name)
    assert emulator.fault("count") == 128  # the machine can run the next kernel
