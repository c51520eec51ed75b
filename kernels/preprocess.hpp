// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/resize_taps.hpp"
#include "kernels/stream.hpp"

namespace dbnet {

/// An image on the device: packed BGR, (height, width, 3) uint8, or NV12 (`chroma` set): a plane of
/// luma, and one of interleaved U and V of half the height and width, BT.601 limited range.
struct DeviceImage {
    const std::uint8_t* pixels;
    const std::uint8_t* chroma;  // nullptr for BGR
    std::ptrdiff_t pitch, chroma_pitch;
};

/// out[c] = pixel[c'] * scale[c] + bias[c] for the `resized` part in the top left corner, 0
/// outside; c' is 2 - c with swap_red_blue.
struct PreprocessParams {
    const ResizeTap* column_taps;  // (resized_width) on the device, from make_taps
    const ResizeTap* row_taps;     // (resized_height) on the device
    int resized_height, resized_width;
    int padded_height, padded_width;
    float scale[3], bias[3];
    bool swap_red_blue;
};

/// Resize, bit-exact with OpenCV's INTER_LINEAR, normalise and pad one image into `out`,
/// (3, padded_height, padded_width) float or half on the device. Asynchronous on `stream`.
void preprocess(const DeviceImage& image, const PreprocessParams& params, float* out,
                Stream stream);
void preprocess_half(const DeviceImage& image, const PreprocessParams& params, void* out,
                     Stream stream);

}  // namespace dbnet
