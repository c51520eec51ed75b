// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>

namespace dbnet {

/// A model or a device cannot run; the message states the remedy. EngineError in Python.
struct EngineError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace dbnet
