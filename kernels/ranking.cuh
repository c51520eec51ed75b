// SPDX-License-Identifier: Apache-2.0
//
// The candidates of a map in their order, as boxes in the image.
#pragma once

#include "kernels/boxes.cuh"

namespace dbnet {

// 256: a block ranks 32 candidates, one per lane; its 8 warps share the keys to compare with.
constexpr int kRankingThreads = 256;

__device__ __forceinline__ void order_pair(PointF& a, PointF& b, bool swap) {
    const PointF first = swap ? b : a, second = swap ? a : b;
    a = first;
    b = second;
}

// Orders corners clockwise from the text's top left: the upper one of the two leftmost.
__device__ __forceinline__ void order_corners(PointF (&p)[4]) {
    constexpr int kPairs[5][2] = {{0, 1}, {2, 3}, {0, 2}, {1, 3}, {1, 2}};  // sorts four by x, y
    for (const auto& pair : kPairs) {
        PointF &a = p[pair[0]], &b = p[pair[1]];
        order_pair(a, b, b.x < a.x || (b.x == a.x && b.y < a.y));
    }
    order_pair(p[0], p[1], p[1].y < p[0].y);
    order_pair(p[2], p[3], p[3].y < p[2].y);
    const PointF low_left = p[1];
    p[1] = p[2];
    p[2] = p[3];
    p[3] = low_left;
}

__device__ __forceinline__ float clip(float value, int side) {
    return fminf(fmaxf(value, 0.f), static_cast<float>(side - 1));
}

// Called by one thread.
__device__ __forceinline__ void write_box(const BoxKernelParams& params, int map_number,
                                          const Candidate& candidate, TextBox& box) {
    const MapSize size = params.maps.sizes[map_number], image = params.image_sizes[map_number];
    const float scale_x = static_cast<float>(image.width) / static_cast<float>(size.width);
    const float scale_y = static_cast<float>(image.height) / static_cast<float>(size.height);
    PointF corners[4];
    for (int k = 0; k < 4; ++k) corners[k] = candidate.corners[k];
    order_corners(corners);
    for (int k = 0; k < 4; ++k) {
        box.quad[k][0] = clip(corners[k].x * scale_x, image.width);
        box.quad[k][1] = clip(corners[k].y * scale_y, image.height);
    }
    box.score = candidate.score;
    box.label = 1 + candidate.first;
}

/// Maximum number of boxes of a map that are written.
__device__ __forceinline__ int max_boxes(const BoxKernelParams& params) {
    const int wanted = params.box->max_boxes, capacity = params.found.capacity;
    return wanted < capacity ? wanted : capacity;
}

/// Number of keys that are smaller than this lane's, which is the same in all warps of the block;
/// they share the work. Returned to the first warp.
__device__ __forceinline__ int rank_of(const unsigned long long* keys, int num_keys,
                                       unsigned long long key) {
    DBNET_SHARED(unsigned long long, s_keys, kRankingThreads);
    DBNET_SHARED(int, s_ranks, kWarpSize);
    const int t = threadIdx.x, lane = t % kWarpSize, begin = t - lane;
    if (t < kWarpSize) s_ranks[t] = 0;
    int rank = 0;
    for (int base = 0; base < num_keys; base += kRankingThreads) {
        __syncthreads();  // the keys before have been read
        s_keys[t] = base + t < num_keys ? keys[base + t] : ~0ull;
        __syncthreads();
        for (int i = begin; i < begin + kWarpSize; ++i) rank += s_keys[i] < key;
    }
    atomicAdd(&s_ranks[lane], rank);
    __syncthreads();
    return t < kWarpSize ? s_ranks[lane] : 0;
}

}  // namespace dbnet
