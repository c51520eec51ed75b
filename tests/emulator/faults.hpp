// SPDX-License-Identifier: Apache-2.0
//
// Small kernels, correct ones and ones with a fault that the emulator has to find.
#pragma once

#include <string>

#include "kernels/portable.hpp"

namespace faults {

constexpr unsigned kThreads = 128;

// Sums 0 to 127 by a tree; without `barriers` it races.
__global__ void tree_sum_kernel(unsigned* out, bool barriers) {
    DBNET_SHARED(unsigned, sums, kThreads);
    const unsigned t = threadIdx.x;
    sums[t] = t;
    for (unsigned step = kThreads / 2; step > 0; step /= 2) {
        if (barriers) __syncthreads();
        if (t < step) sums[t] = sums[t] + sums[t + step];
    }
    if (t == 0) *out = sums[0];
}

// Counts the threads; without `atomic` updates are lost.
__global__ void count_kernel(unsigned* out, bool atomic) {
    DBNET_SHARED(unsigned, count, 1);
    if (threadIdx.x == 0) count[0] = 0;
    __syncthreads();
    if (atomic) {
        atomicAdd(&count[0], 1u);
    } else {
        count[0] = count[0] + 1;
    }
    __syncthreads();
    if (threadIdx.x == 0) *out = count[0];
}

__global__ void divergent_kernel() {
    if (threadIdx.x < 64) {
        __syncthreads();
    } else {
        __syncthreads();
    }
}

__global__ void half_warp_kernel() {
    if (threadIdx.x < 16) __ballot_sync(~0u, 1);
}

__global__ void foreign_lane_kernel() {
    if (threadIdx.x < 16) __shfl_sync(0xffffu, 1, 20);
}

__global__ void not_in_mask_kernel() { __ballot_sync(1u, 1); }

__global__ void out_of_range_kernel() {
    DBNET_SHARED(unsigned, few, 4);
    few[threadIdx.x] = 1;
}

__global__ void too_much_shared_kernel() {
    DBNET_SHARED(double, many, 10000);
    many[0] = 1;
}

__global__ void unset_shared_kernel(unsigned* out) {
    DBNET_SHARED(unsigned, value, 1);
    if (threadIdx.x == 0) *out = value[0];
}

// Sums the lanes of a warp.
__global__ void warp_sum_kernel(unsigned* out) {
    unsigned sum = threadIdx.x;
    for (unsigned step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
    if (threadIdx.x == 0) *out = sum;
}

/// Run the kernel of that name on one block.
inline void run(const std::string& name, unsigned* out) {
    const dim3 one(1), threads(kThreads);
    const auto start = [&](auto kernel) { emulator::launch(one, threads, kernel); };
    if (name == "tree_sum") start([&] { tree_sum_kernel(out, true); });
    if (name == "missing_barrier") start([&] { tree_sum_kernel(out, false); });
    if (name == "count") start([&] { count_kernel(out, true); });
    if (name == "lost_update") start([&] { count_kernel(out, false); });
    if (name == "divergent_barrier") start([] { divergent_kernel(); });
    if (name == "half_warp") start([] { half_warp_kernel(); });
    if (name == "foreign_lane") start([] { foreign_lane_kernel(); });
    if (name == "not_in_mask") start([] { not_in_mask_kernel(); });
    if (name == "out_of_range") start([] { out_of_range_kernel(); });
    if (name == "too_much_shared") start([] { too_much_shared_kernel(); });
    if (name == "unset_shared") start([&] { unset_shared_kernel(out); });
    if (name == "warp_sum") start([&] { warp_sum_kernel(out); });
    if (name == "no_threads") emulator::launch(one, dim3(0), [] {});
    if (name == "no_blocks") emulator::launch(dim3(0), threads, [] {});
}

}  // namespace faults
