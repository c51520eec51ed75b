// SPDX-License-Identifier: Apache-2.0
//
// Sample indices and weights of OpenCV's INTER_LINEAR for bytes, shared by the CPU and the GPU
// code.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace dbnet {

/// Two neighbouring samples along one axis and their 11-bit weights. Aligned so that few reads
/// fetch it.
struct alignas(16) ResizeTap {
    std::int32_t first, second;
    std::int16_t first_weight, second_weight;
};

/// Whether taps are for the columns or the rows of an image.
enum class Axis { kColumns, kRows };

/// Compute the taps for resizing `source` samples to `target`, both at least 1. At the edges OpenCV
/// clamps the weights of columns, but only the indices of rows: the two differ in rounding, which
/// has to match.
inline std::vector<ResizeTap> make_taps(int target, int source, Axis axis) {
    constexpr float kWeightOne = 2048;  // 11 bits
    std::vector<ResizeTap> taps(target);
    const double scale = static_cast<double>(source) / target;
    for (int i = 0; i < target; ++i) {
        float fraction = static_cast<float>((i + 0.5) * scale - 0.5);
        int first = static_cast<int>(std::floor(fraction));
        fraction -= static_cast<float>(first);
        if (axis == Axis::kColumns && (first < 0 || first >= source - 1)) {
            fraction = 0;
            first = std::clamp(first, 0, source - 1);
        }
        taps[i] = {std::clamp(first, 0, source - 1), std::clamp(first + 1, 0, source - 1),
                   static_cast<std::int16_t>(std::lrint((1.f - fraction) * kWeightOne)),
                   static_cast<std::int16_t>(std::lrint(fraction * kWeightOne))};
    }
    return taps;
}

}  // namespace dbnet
