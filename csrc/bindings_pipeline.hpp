// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pybind11/pybind11.h>

namespace dbnet {

/// Adds cuda_available, EngineError, PostprocessParams, Ticket and Pipeline to the module.
void bind_pipeline(pybind11::module_& m);

}  // namespace dbnet
