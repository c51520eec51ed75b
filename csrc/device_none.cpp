// SPDX-License-Identifier: Apache-2.0
#include "csrc/device.hpp"

namespace dbnet {

bool cuda_available() noexcept { return false; }

}  // namespace dbnet
