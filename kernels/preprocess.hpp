// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/resize_taps.hpp"
#include "kernels/stream.hpp"
#include "kernels/yuv_colors.hpp"

namespace dbnet {

/// An image on the device: BGR, (height, width, 3) uint8, or NV12 if `chroma` is set: a luma plane,
/// (height, width), and interleaved U and V, (height / 2, width). Aligned so that few reads fetch
/// it.
struct alignas(16) DeviceImage {
    const std::uint8_t* pixels;
    const std::uint8_t* chroma;        // nullptr for BGR
    const ResizeTap* column_taps;      // (resized_width, made even by a spare tap) on the device
    const ResizeTap* row_taps;         // (resized_height) on the device, from make_taps
    std::int32_t pitch, chroma_pitch;  // bytes per row
    std::int32_t resized_height, resized_width;
    YuvColors colors;  // of NV12
};

/// Parameters of preprocess: out[c] = pixel[c'] * scale[c] + bias[c] for the resized image in the
/// top left corner, 0 outside; c' is c, or 2 - c with swap_red_blue.
struct PreprocessParams {
    int num_images, padded_height, padded_width;
    float scale[3], bias[3];
    bool swap_red_blue, out_is_half;
};

/// Resize, normalise and pad a batch of images. `out`: (num_images, 3, padded_height, padded_width)
/// float or half on the device; the width is even. `images` is on the device as well, so that a
/// captured graph takes images of any size. Resizing is bit-exact with OpenCV's INTER_LINEAR.
/// Asynchronous on `stream`.
void preprocess(const DeviceImage* images, const PreprocessParams& params, void* out,
                Stream stream);

}  // namespace dbnet
