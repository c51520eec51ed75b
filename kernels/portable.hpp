// SPDX-License-Identifier: Apache-2.0
//
// The one header that kernels include: CUDA, or its emulator in the tests.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)

#include <cuda_fp16.h>

#include <stdexcept>
#include <string>

#define DBNET_SHARED(type, name, size) __shared__ type name[size]
#define DBNET_LAUNCH(kernel, grid, block, stream, ...) \
    kernel<<<grid, block, 0, stream>>>(__VA_ARGS__)

namespace dbnet {

using Half = __half;

template <class T>
__device__ __forceinline__ T from_float(float value) {
    return T(value);
}
template <>
__device__ __forceinline__ Half from_float<Half>(float value) {
    return __float2half_rn(value);
}

// Multiply, then add: contracted to one rounding it would differ from the CPU in the last bit.
__device__ __forceinline__ float multiply_add(float a, float b, float c) {
    return __fadd_rn(__fmul_rn(a, b), c);
}

/// Throws std::runtime_error where a launch failed.
inline void check_launch(const char* kernel) {
    const cudaError_t status = cudaGetLastError();
    if (status == cudaSuccess) return;
    throw std::runtime_error(std::string(kernel) + ": " + cudaGetErrorString(status));
}

}  // namespace dbnet

#else

#include "tests/emulator/cuda_names.hpp"

#define DBNET_SHARED(type, name, size) \
    auto name = emulator::shared_array<type>(EMULATOR_SITE(), size)
#define DBNET_LAUNCH(kernel, grid, block, stream, ...) \
    (static_cast<void>(stream), emulator::launch(grid, block, [&] { kernel(__VA_ARGS__); }))

namespace dbnet {

using Half = _Float16;

template <class T>
T from_float(float value) {
    return static_cast<T>(value);
}

inline float multiply_add(float a, float b, float c) { return a * b + c; }

inline void check_launch(const char*) {}  // the emulator throws while it runs

}  // namespace dbnet

#endif

namespace dbnet {

constexpr unsigned ceil_div(unsigned a, unsigned b) { return (a + b - 1) / b; }

}  // namespace dbnet
