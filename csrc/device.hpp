// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace dbnet {

/// Whether this build has CUDA code and the machine a driver and a device for it. Never throws.
bool cuda_available() noexcept;

}  // namespace dbnet
