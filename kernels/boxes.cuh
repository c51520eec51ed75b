// SPDX-License-Identifier: Apache-2.0
//
// Device memory and arguments that the kernels of boxes.cu share.
#pragma once

#include "kernels/boxes.hpp"
#include "kernels/components.cuh"
#include "kernels/min_rectangle.cuh"

namespace dbnet {

/// A component is large if its upright rectangle, x_max - x_min times y_max - y_min, exceeds this:
/// many blocks add up its score. A large component has a pixel in each of more than 128 rows or
/// columns, so that a map has at most one per 128 pixels.
constexpr int kLargeArea = 128 * 128, kMinLargePixels = 128;

/// A quad that passed the filters, in map pixels; corners are not ordered yet.
struct alignas(16) Candidate {
    PointF corners[4];
    float score;
    std::uint32_t first;  // first pixel of its component
};

/// The rectangle of a large component, and what has been added up of its score.
struct LargeBox {
    RotatedRectangle rectangle;
    unsigned long long sum;  // of the probabilities, as in PixelSum
    std::uint32_t num_pixels, num_warps_done;
    std::uint32_t num_patches;
    std::uint32_t first;  // first pixel of the component
};

/// Device memory of find_boxes, laid out in one buffer.
struct BoxWorkspace {
    ComponentWorkspace components;
    unsigned long long* sort_keys;  // (maps, kMaxCandidates): best score first, then raster order
    Candidate* candidates;          // (maps, kMaxCandidates)
    LargeBox* large_boxes;          // (maps, max_large_boxes)
    int max_large_boxes;
};

/// Arguments of the kernels of boxes.cu.
struct BoxKernelParams {
    DeviceMaps maps;
    const MapSize* image_sizes;
    const BoxParams* box;
    BoxWorkspace workspace;
    FoundBoxes found;
};

}  // namespace dbnet
