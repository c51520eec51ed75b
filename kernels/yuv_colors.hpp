// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace dbnet {

/// From YUV to BGR: what is subtracted from luma, and factors in units of 2^-20, which
/// images/nv12.py computes.
struct YuvColors {
    std::int32_t black, luma, blue_u, green_u, green_v, red_v;
};

}  // namespace dbnet
