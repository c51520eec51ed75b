// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime_api.h>

#include "csrc/device.hpp"

namespace dbnet {

bool cuda_available() noexcept {
    int num_devices = 0;
    const cudaError_t status = cudaGetDeviceCount(&num_devices);
    cudaGetLastError();  // "no driver" and "no device" are answers here, not errors to keep
    return status == cudaSuccess && num_devices > 0;
}

}  // namespace dbnet
