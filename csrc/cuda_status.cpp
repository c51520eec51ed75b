// SPDX-License-Identifier: Apache-2.0
#include "csrc/cuda_status.hpp"

#include "kernels/stream.hpp"

#ifndef DBNET_ARCHITECTURES
#define DBNET_ARCHITECTURES ""
#endif

namespace dbnet {
namespace {

cudaError_t list_devices(std::vector<CudaDevice>& devices) {
    int count = 0;
    cudaError_t code = cudaGetDeviceCount(&count);
    for (int device = 0; code == cudaSuccess && device < count; ++device) {
        cudaDeviceProp properties;
        code = cudaGetDeviceProperties(&properties, device);
        if (code == cudaSuccess) {
            devices.push_back(
                {properties.name, properties.major, properties.minor, properties.totalGlobalMem});
        }
    }
    return code;
}

}  // namespace

CudaStatus cuda_status() {
    CudaStatus status;
    status.architectures = DBNET_ARCHITECTURES;
    status.runtime = CUDART_VERSION;
    cudaDriverGetVersion(&status.driver);
    const cudaError_t code = list_devices(status.devices);
    if (code != cudaSuccess) status.failure = cudaGetErrorString(code);
    cudaGetLastError();  // "no driver" and "no device" are answers here, not errors to keep
    return status;
}

}  // namespace dbnet
