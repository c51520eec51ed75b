// SPDX-License-Identifier: Apache-2.0
//
// Stream type and launch errors.
#pragma once

#if defined(DBNET_EMULATOR)
#include "tests/emulator/cuda_runtime.hpp"
#elif !defined(__CUDACC_RTC__)
#include <cuda_runtime_api.h>
#endif

#if !defined(__CUDACC_RTC__)

#include <stdexcept>
#include <string>

namespace dbnet {

/// The stream that a launcher enqueues on.
using Stream = cudaStream_t;

/// A failed CUDA call, with its place and error code.
struct CudaError : std::runtime_error {
    CudaError(const std::string& where, cudaError_t code)
        : std::runtime_error(where + ": " + cudaGetErrorString(code)), code(code) {}
    cudaError_t code;
};

/// Throw CudaError if the last launch failed.
inline void check_launch(const char* kernel) {
    const cudaError_t status = cudaGetLastError();  // clears it, so that it is reported once
    if (status != cudaSuccess) throw CudaError(kernel, status);
}

}  // namespace dbnet

#else

namespace dbnet {
using Stream = cudaStream_t;
}  // namespace dbnet

#endif
