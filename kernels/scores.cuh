// SPDX-License-Identifier: Apache-2.0
//
// Sum of the probabilities in a quad, by patches of 8 x 128 pixels. Any number of warps share the
// patches: sums are whole numbers in units of 2^-24, so that their order does not matter.
#pragma once

#include "kernels/boxes.cuh"
#include "kernels/fill_quad.cuh"
#include "kernels/portable.hpp"

namespace dbnet {

constexpr int kPatchHeight = kWarpSize / kLanesPerRow, kPatchWidth = 128;
constexpr float kUnitsOfOne = 1 << 24;  // a probability of 1 in the units of sums

/// Sum of the probabilities of pixels, and their number.
struct PixelSum {
    unsigned long long sum;
    unsigned num;

    __device__ __forceinline__ void operator+=(const PixelSum& other) {
        sum += other.sum;
        num += other.num;
    }
    /// Mean probability; 0 of no pixels.
    __device__ __forceinline__ float mean() const {
        return num > 0 ? static_cast<float>(sum) / static_cast<float>(num) / kUnitsOfOne : 0.f;
    }
};

/// 16 bytes of a map: what a thread reads at once.
template <class T>
struct alignas(16) Pack {
    static constexpr int kSize = 16 / sizeof(T);
    T values[kSize];
};

__device__ __forceinline__ float to_probability(float value, bool logits) {
    if (logits) value = 1.f / (1.f + expf(-value));
    return value > 0.f ? (value < 1.f ? value : 1.f) : 0.f;  // NaN is 0
}

// Sum of this lane's share of the pixels [begin, begin + num) of the maps, at most kPatchWidth of
// them: four lanes take every fourth pack each.
template <class T>
__device__ __forceinline__ unsigned sum_of_row(const DeviceMaps& maps, std::size_t begin, int num,
                                               bool logits) {
    constexpr int kSize = Pack<T>::kSize;
    const int before = static_cast<int>(begin % kSize);  // pixels of the first pack to leave out
    const Pack<T>* const packs =
        reinterpret_cast<const Pack<T>*>(static_cast<const T*>(maps.values) + begin - before);
    unsigned sum = 0;
    for (int i = threadIdx.x % kLanesPerRow; i * kSize < before + num; i += kLanesPerRow) {
        const Pack<T> pack = packs[i];
        for (int k = 0; k < kSize; ++k) {
            const float probability = to_probability(to_float(pack.values[k]), logits);
            const unsigned pixel = i * kSize + k - before;  // large if it lies before the first one
            if (pixel < static_cast<unsigned>(num)) {
                sum += static_cast<unsigned>(probability * kUnitsOfOne);
            }
        }
    }
    return sum;
}

/// Number of patches of a quad.
__device__ __forceinline__ int num_patches(const Canvas& canvas) {
    return ceil_div(canvas.height, kPatchHeight) * ceil_div(canvas.width, kPatchWidth);
}

/// Sum over the pixels of every `step`-th patch of a quad, from patch `first`. Called by a warp,
/// and returned to each of its lanes.
template <class T>
__device__ __forceinline__ PixelSum sum_patches(const BoxKernelParams& params, int map_number,
                                                const FilledQuad& quad, int first, int step) {
    const DeviceMaps& maps = params.maps;
    const bool logits = params.box->logits;
    const Canvas& canvas = quad.canvas;
    const int lane = threadIdx.x % kWarpSize;
    const int num = num_patches(canvas), per_row = ceil_div(canvas.width, kPatchWidth);
    PixelSum total{0, 0};
    for (int patch = first; patch < num; patch += step) {
        const int y = (patch / per_row * kWarpSize + lane) / kLanesPerRow;
        const int left = canvas.left + patch % per_row * kPatchWidth, right = left + kPatchWidth;
        const RowSpan span = quad.row(y);
        const int begin = span.begin > left ? span.begin : left;
        const int end = span.end < right ? span.end : right;
        if (begin >= end) continue;
        const std::size_t row =
            (static_cast<std::size_t>(map_number) * maps.height + canvas.top + y) * maps.width;
        total.sum += sum_of_row<T>(maps, row + begin, end - begin, logits);
        if (lane % kLanesPerRow == 0) total.num += end - begin;
    }
    for (int lanes = kWarpSize / 2; lanes > 0; lanes /= 2) {
        total.sum += __shfl_xor_sync(kAllLanes, total.sum, lanes);
        total.num += __shfl_xor_sync(kAllLanes, total.num, lanes);
    }
    return total;
}

}  // namespace dbnet
