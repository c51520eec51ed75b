// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace dbnet {

/// A BGR image, (height, width, 3) uint8, with `pitch` bytes from one row to the next.
struct ImageView {
    const std::uint8_t* data;
    int height, width;
    std::ptrdiff_t pitch;
};

/// Normalization of pixel values: out[c] = pixel[c'] * scale[c] + bias[c], where c' is c, or 2 - c
/// with swap_red_blue.
struct Normalization {
    std::array<float, 3> scale, bias;
    bool swap_red_blue;
};

/// A size in pixels.
struct Size {
    int height, width;
};

/// Resize, normalise and pad an image in host memory. `out`: (3, padded.height, padded.width)
/// float32 in host memory; the image fills its top left corner, the rest is 0. Resizing is
/// bit-exact with OpenCV's INTER_LINEAR. Sizes are at least 1 and `resized` fits into `padded`.
void preprocess(const ImageView& image, Size resized, Size padded,
                const Normalization& normalization, float* out);

}  // namespace dbnet
