// SPDX-License-Identifier: Apache-2.0
#include "csrc/device.hpp"

#include <map>
#include <mutex>

namespace dbnet {
namespace {

using Context = struct CUctx_st*;

/// Functions of the driver, which the runtime looks up: this library is not linked with it.
struct Driver {
    int (*retain)(Context*, int);
    int (*push)(Context);
    int (*pop)(Context*);
};

template <class Function>
void look_up(const char* name, Function& function) {
    void* found = nullptr;
#if CUDART_VERSION >= 13000
    cuda_check(cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault));
#else
    cuda_check(cudaGetDriverEntryPoint(name, &found, cudaEnableDefault));
#endif
    function = reinterpret_cast<Function>(found);
}

const Driver& driver() {
    static const Driver found = [] {
        Driver functions;
        look_up("cuDevicePrimaryCtxRetain", functions.retain);
        look_up("cuCtxPushCurrent", functions.push);
        look_up("cuCtxPopCurrent", functions.pop);
        return functions;
    }();
    return found;
}

void driver_check(int status, const char* call) {
    if (status != 0) throw CudaError(call, static_cast<cudaError_t>(status));
}

}  // namespace

std::string remedy(cudaError_t code) {
    switch (code) {
        case cudaErrorMemoryAllocation:
            return "the GPU has no memory left; use a smaller batch_size or size, or stop other "
                   "programs on this GPU";
        case cudaErrorNoKernelImageForDevice:
        case cudaErrorUnsupportedPtxVersion:
            return "this build has no code for this GPU; build it here: "
                   "`CUDAARCHS=native pip install --no-binary dbnet-trt .`";
        case cudaErrorInsufficientDriver:
        case cudaErrorNoDevice:
            return "install or update the NVIDIA driver (`nvidia-smi` shows it), or use "
                   "device=\"cpu\"";
        case cudaErrorIllegalAddress:
        case cudaErrorLaunchFailure:
        case cudaErrorECCUncorrectable:
        case cudaErrorUnknown:
            return "this process has lost the GPU; start it again (`nvidia-smi` and dmesg may "
                   "tell why); detectors on the CPU keep working";
        default:
            return "if it happens again, device=\"cpu\" works without the GPU";
    }
}

void push_context(int device) {
    static std::mutex mutex;
    static std::map<int, Context> contexts;  // retained as long as the process lives
    const std::lock_guard lock(mutex);
    if (!contexts.contains(device)) {
        Context context;
        driver_check(driver().retain(&context, device), "cuDevicePrimaryCtxRetain");
        contexts[device] = context;
    }
    driver_check(driver().push(contexts[device]), "cuCtxPushCurrent");
}

void pop_context() noexcept {
    Context context;
    driver().pop(&context);
}

}  // namespace dbnet
