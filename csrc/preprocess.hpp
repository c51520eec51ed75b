// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace dbnet {

/// A BGR image in host memory, (height, width, 3) uint8; `pitch` bytes from one row to the next.
struct ImageView {
    const std::uint8_t* data;
    int height, width;
    std::ptrdiff_t pitch;
};

/// Output channel c is pixel * scale[c] + bias[c], of the pixel's channel c, or 2 - c with
/// swap_red_blue.
struct Normalization {
    std::array<float, 3> scale, bias;
    bool swap_red_blue;
};

struct Size {
    int height, width;
};

/// Resize an image, bit-exact with OpenCV's INTER_LINEAR, normalise it, and write it into the top
/// left corner of `out`, (3, padded.height, padded.width) float32 in host memory; 0 elsewhere.
/// Every size is at least 1 and `resized` fits into `padded`.
void preprocess(const ImageView& image, Size resized, Size padded,
                const Normalization& normalization, float* out);

}  // namespace dbnet
