// SPDX-License-Identifier: Apache-2.0
//
// The GPU part of the package's module, over the fake CUDA runtime. One file: what Python's
// headers take to compile, they take once.
#include "csrc/bindings_pipeline.cpp"

PYBIND11_MODULE(_core, m) { dbnet::bind_pipeline(m); }
