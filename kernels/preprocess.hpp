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
    const ResizeTap* column_taps;  // (resized_width) on the device, from make_taps
    const ResizeTap* row_taps;     // (resized_height) on the device
    std::int32_t resized_height, resized_width;
};

/// out[c] = pixel[c'] * scale[c] + bias[c] for the `resized` part in the top left corner, 0
/// outside; c' is 2 - c with swap_red_blue.
struct PreprocessParams {
    int num_images, padded_height, padded_width;
    float scale[3], bias[3];
    bool swap_red_blue, out_is_half;
};

/// Resize, bit-exact with OpenCV's INTER_LINEAR, normalise and pad a batch of images into `out`,
/// (num_images, 3, padded_height, padded_width) float or half on the device. `images` is there,
/// too: a captured graph takes images of any size. Asynchronous on `stream`.
void preprocess(const DeviceImage* images, const PreprocessParams& params, void* out,
                Stream stream);

}  // namespace dbnet
