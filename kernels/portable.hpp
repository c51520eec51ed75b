// SPDX-License-Identifier: Apache-2.0
//
// CUDA, or its emulator in the tests: all kernels include this header. NVRTC is supported to test
// that device code compiles for GPUs that nvcc has dropped; it cannot compile launches. A launch
// that fails throws CudaError: later ones would read what it did not write.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/stream.hpp"

#if defined(__CUDACC__)

#include <cuda_fp16.h>

#define DBNET_SHARED(type, name, size) __shared__ type name[size]

#if defined(__CUDACC_RTC__)
#define DBNET_LAUNCH(kernel, ...) static_cast<void>(&kernel)
#else
#define DBNET_LAUNCH(kernel, grid, block, stream, ...)   \
    do {                                                 \
        kernel<<<grid, block, 0, stream>>>(__VA_ARGS__); \
        check_launch(#kernel);                           \
    } while (false)
#endif

namespace dbnet {

/// A shared array as an argument.
template <class T>
using Shared = T*;

using Half = __half;

/// Convert to the map's type, rounding to nearest.
template <class T>
__device__ __forceinline__ T from_float(float value) {
    return T(value);
}
template <>
__device__ __forceinline__ Half from_float<Half>(float value) {
    return __float2half_rn(value);
}

/// Multiply, then add, with two roundings: contracted, it would differ from the CPU in the last
/// bit.
__device__ __forceinline__ float multiply_add(float a, float b, float c) {
    return __fadd_rn(__fmul_rn(a, b), c);
}

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(Half value) { return __half2float(value); }

/// Tell the compiler that an address, itself read from memory, is one of global memory: it need not
/// choose the kind of memory at each access.
template <class T>
__device__ __forceinline__ const T* to_global(const T* address) {
    __builtin_assume(__isGlobal(address));
    return address;
}

/// Accesses that race by design, as in a union-find forest: never cached, torn or moved by the
/// compiler.
template <class T>
__device__ __forceinline__ T read_relaxed(const T* address) {
    return *static_cast<const volatile T*>(address);
}
template <class T>
__device__ __forceinline__ void write_relaxed(T* address, T value) {
    *static_cast<volatile T*>(address) = value;
}

}  // namespace dbnet

#else

#include "tests/emulator/compiled_kernels.hpp"
#include "tests/emulator/cuda_names.hpp"

#define DBNET_SHARED(type, name, size) \
    auto name = emulator::shared_array<type>(EMULATOR_SITE(), size)
#define DBNET_LAUNCH(kernel, grid, block, stream, ...)                                      \
    do {                                                                                    \
        emulator::enqueue(stream,                                                           \
                          [=] { emulator::run_kernel<kernel>(grid, block, __VA_ARGS__); }); \
        check_launch(#kernel);                                                              \
    } while (false)

namespace dbnet {

template <class T>
using Shared = emulator::SharedArray<T>;

using Half = _Float16;

template <class T>
T from_float(float value) {
    return static_cast<T>(value);
}

inline float multiply_add(float a, float b, float c) { return a * b + c; }

inline float to_float(float value) { return value; }
inline float to_float(Half value) { return static_cast<float>(value); }

template <class T>
const T* to_global(const T* address) {
    return address;
}

template <class T>
T read_relaxed(const T* address) {
    emulator::maybe_yield();
    emulator::check_access(address, sizeof(T), emulator::Access::kRelaxedRead);
    return *address;
}
template <class T>
void write_relaxed(T* address, T value) {
    emulator::maybe_yield();
    emulator::check_access(address, sizeof(T), emulator::Access::kRelaxedWrite);
    *address = value;
}

}  // namespace dbnet

#endif

namespace dbnet {

/// a / b, rounded up.
__host__ __device__ constexpr unsigned ceil_div(unsigned a, unsigned b) { return (a + b - 1) / b; }

}  // namespace dbnet
