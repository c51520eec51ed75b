// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pybind11/pybind11.h>

#include <vector>

#include "csrc/postprocess.hpp"

namespace dbnet {

/// Convert the detections of an image to arrays: quads (N, 4, 2) and scores (N,), both float32.
pybind11::tuple to_arrays(const std::vector<ScoredQuad>& texts);

/// Add cuda_status, EngineError, PostprocessParams, PipelineConfig, Pipeline, Ticket and the
/// submodule `kernels` to the module.
void bind_pipeline(pybind11::module_& m);

}  // namespace dbnet
