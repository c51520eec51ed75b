// SPDX-License-Identifier: Apache-2.0
//
// The GPU part of the package's module, on the fake CUDA runtime. It includes the source, so that
// the slow headers of pybind11 are compiled only once.
#include "csrc/bindings_pipeline.cpp"

PYBIND11_MODULE(_core, m) { dbnet::bind_pipeline(m); }
