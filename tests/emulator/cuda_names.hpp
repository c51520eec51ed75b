// SPDX-License-Identifier: Apache-2.0
//
// The CUDA keywords, variables and functions that kernels use, in terms of the emulator.
#pragma once

#include <algorithm>
#include <bit>

#include "tests/emulator/cuda_emulator.hpp"

#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict

#define threadIdx (emulator::machine.current->index)
#define blockIdx (emulator::machine.current->block->index)
#define blockDim (emulator::machine.block)
#define gridDim (emulator::machine.grid)

// A unique address per place in the source.
#define EMULATOR_SITE()    \
    ([]() -> const void* { \
        static char site;  \
        return &site;      \
    }())
#define __syncthreads() (static_cast<void>(emulator::barrier(0, EMULATOR_SITE())))
#define __syncthreads_or(p) (static_cast<int>(emulator::barrier((p) ? 1 : 0, EMULATOR_SITE()) != 0))

inline constexpr unsigned kEmulatorWarp = emulator::kWarpSize;

inline void __syncwarp(unsigned mask = ~0u) {
    emulator::collective("__syncwarp", mask, 0, [](auto*, unsigned, unsigned) { return 0u; });
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
    const auto combine = [](const std::uint64_t* values, unsigned lanes, unsigned) {
        std::uint64_t bits = 0;
        for (unsigned i = 0; i < kEmulatorWarp; ++i) {
            if ((lanes >> i & 1) && values[i]) bits |= 1u << i;
        }
        return bits;
    };
    return static_cast<unsigned>(
        emulator::collective("__ballot_sync", mask, predicate ? 1 : 0, combine));
}

inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) {
    return __ballot_sync(mask, predicate) == mask;
}

template <class T>
T __shfl_sync(unsigned mask, T value, int from) {
    return emulator::shuffle("__shfl_sync", mask, value, [=](unsigned) { return from & 31u; });
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by) {
    return emulator::shuffle("__shfl_up_sync", mask, value,
                             [=](unsigned lane) { return lane >= by ? lane - by : lane; });
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by) {
    return emulator::shuffle("__shfl_down_sync", mask, value, [=](unsigned lane) {
        return lane + by < kEmulatorWarp ? lane + by : lane;
    });
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, unsigned by) {
    return emulator::shuffle("__shfl_xor_sync", mask, value,
                             [=](unsigned lane) { return lane ^ by; });
}

inline void __threadfence() { emulator::maybe_yield(); }

inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline int __ffsll(long long x) {
    return x == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(x)) + 1;
}

namespace emulator {

/// Atomic read-modify-write. Returns the old value. Other threads may run before and after.
template <class T, class Change>
T atomic(T* address, Change change) {
    maybe_yield();
    check_access(address, sizeof(T), Access::kAtomic);
    const T old = *address;
    *address = change(old);
    maybe_yield();
    return old;
}

}  // namespace emulator

template <class T>
T atomicAdd(T* address, T value) {
    return emulator::atomic(address, [=](T old) { return static_cast<T>(old + value); });
}
template <class T>
T atomicMin(T* address, T value) {
    return emulator::atomic(address, [=](T old) { return std::min(old, value); });
}
template <class T>
T atomicMax(T* address, T value) {
    return emulator::atomic(address, [=](T old) { return std::max(old, value); });
}
template <class T>
T atomicOr(T* address, T value) {
    return emulator::atomic(address, [=](T old) { return static_cast<T>(old | value); });
}
template <class T>
T atomicCAS(T* address, T expected, T value) {
    return emulator::atomic(address, [=](T old) { return old == expected ? value : old; });
}
