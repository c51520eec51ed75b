# SPDX-License-Identifier: Apache-2.0
"""Tests of kernels run twice: on the sources, and on the PTX that NVRTC makes of them."""

import pytest

MODULES = {"test_boxes_kernel", "test_components_kernel", "test_preprocess_kernel"}

# Most tests of the pipeline are about the host's code: on PTX they would take minutes. These run
# every kernel by plain launches and by graphs, on float and half, in batches and tiles.
OF_PIPELINE = {
    "test_gpu_gives_what_the_cpu_gives",
    "test_values_of_one_call_take_effect",
    "test_empty_and_narrow_images",
    "test_batches_overlap_without_mixing",
    "test_images_on_the_device_are_read_where_they_are",
    "test_frames_in_host_memory",
    "test_frames_on_the_device_are_read_where_they_are",
    "test_tiles_give_what_one_map_gives",
    "test_nv12_in_tiles",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    name = metafunc.module.__name__.rpartition(".")[2]
    runs_twice = name in MODULES or metafunc.function.__name__ in OF_PIPELINE
    if "code" in metafunc.fixturenames and runs_twice:
        metafunc.parametrize("code", ["source", "ptx"], indirect=True)
