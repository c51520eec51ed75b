// SPDX-License-Identifier: Apache-2.0
//
// The fake runtime's devices and their memory.
#include <cstdlib>
#include <cstring>

#include "tests/emulator/runtime_state.hpp"

namespace emulator {

constexpr std::size_t kGuardBytes = 256;

cudaError_t create_context(int device) {
    const Lock lock(runtime.mutex);
    if (device < 0 || device >= static_cast<int>(runtime.has_context.size())) return fail(101);
    runtime.has_context[device] = true;
    return cudaSuccess;
}

// Allocates uninitialised memory, filled with 0xA5, between guards.
static cudaError_t allocate(const char* name, std::map<void*, std::size_t>& memories, void** memory,
                            std::size_t num_bytes) {
    const Lock lock(runtime.mutex);
    if (const cudaError_t code = begin_call(name)) return code;
    if (break_capture()) return fail(cudaErrorStreamCaptureUnsupported);
    std::size_t used = 0;
    for (const auto& [address, size] : memories) used += size;
    if (used + num_bytes > runtime.limit) return fail(cudaErrorMemoryAllocation);
    const std::size_t rounded = (num_bytes + kGuardBytes - 1) / kGuardBytes * kGuardBytes;
    auto* bytes = static_cast<unsigned char*>(std::aligned_alloc(256, rounded + 2 * kGuardBytes));
    std::memset(bytes, 0xA5, rounded + 2 * kGuardBytes);
    *memory = bytes + kGuardBytes;
    memories[*memory] = num_bytes;
    return cudaSuccess;
}

static cudaError_t release(std::map<void*, std::size_t>& memories, void* memory) {
    const Lock lock(runtime.mutex);
    if (memory == nullptr) return cudaSuccess;
    const auto found = memories.find(memory);
    if (found == memories.end()) return fail(cudaErrorInvalidValue);
    while (run_any()) {  // as cudaFree does
    }
    auto* bytes = static_cast<unsigned char*>(memory);
    const auto is_intact = [](unsigned char byte) { return byte == 0xA5; };
    if (!std::all_of(bytes - kGuardBytes, bytes, is_intact) ||
        !std::all_of(bytes + found->second, bytes + found->second + 64, is_intact)) {
        std::abort();  // out-of-bounds write
    }
    std::memset(bytes, 0xDD, found->second);
    std::free(bytes - kGuardBytes);
    memories.erase(found);
    return cudaSuccess;
}

}  // namespace emulator

using namespace emulator;

const char* cudaGetErrorString(cudaError_t code) {
    if (code == cudaErrorLaunchFailure && !runtime.what.empty()) return runtime.what.c_str();
    return code == cudaErrorMemoryAllocation ? "out of memory" : "an error of the fake runtime";
}

cudaError_t cudaGetLastError() {
    const Lock lock(runtime.mutex);
    return runtime.lost != cudaSuccess ? runtime.lost : std::exchange(runtime.last, cudaSuccess);
}

cudaError_t cudaDriverGetVersion(int* version) {
    *version = 13000;
    return begin_call("cudaDriverGetVersion");
}

cudaError_t cudaGetDeviceCount(int* count) {
    *count = static_cast<int>(runtime.has_context.size());
    return begin_call("cudaGetDeviceCount");
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
    *properties = {"Fake GPU", 8, 9 - device, std::size_t{1} << 30};
    return begin_call("cudaGetDeviceProperties");
}

cudaError_t cudaGetDevice(int* device) {
    *device = current_devices.back();
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {  // creates a context, as CUDA 12 does
    if (const cudaError_t code = create_context(device)) return code;
    current_devices.back() = device;
    return cudaSuccess;
}

// The driver's functions; a context is 1 + its device.
static int retain_context(std::size_t* context, int device) {
    *context = 1 + device;
    return create_context(device);
}
static int push_context(std::size_t context) {
    current_devices.push_back(static_cast<int>(context) - 1);
    return 0;
}
static int pop_context(std::size_t* context) {
    *context = 1 + current_devices.back();
    current_devices.pop_back();
    return 0;
}

cudaError_t cudaGetDriverEntryPoint(const char* name, void** function, unsigned long long) {
    const std::map<std::string, void*> functions = {
        {"cuDevicePrimaryCtxRetain", reinterpret_cast<void*>(&retain_context)},
        {"cuCtxPushCurrent", reinterpret_cast<void*>(&push_context)},
        {"cuCtxPopCurrent", reinterpret_cast<void*>(&pop_context)},
    };
    *function = functions.at(name);
    return begin_call("cudaGetDriverEntryPoint");
}

cudaError_t cudaMemGetInfo(std::size_t* num_free, std::size_t* total) {
    *num_free = *total = std::size_t{1} << 30;
    return begin_call("cudaMemGetInfo");
}

cudaError_t cudaMalloc(void** memory, std::size_t num_bytes) {
    if (const cudaError_t code = create_context(current_devices.back())) return code;
    return allocate("cudaMalloc", runtime.device_memory, memory, num_bytes);
}
cudaError_t cudaFree(void* memory) { return release(runtime.device_memory, memory); }
cudaError_t cudaHostAlloc(void** memory, std::size_t num_bytes, unsigned) {
    return allocate("cudaHostAlloc", runtime.pinned_memory, memory, num_bytes);
}
cudaError_t cudaFreeHost(void* memory) { return release(runtime.pinned_memory, memory); }

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t num_bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
    const Lock lock(runtime.mutex);
    if (const cudaError_t code = begin_call("cudaMemcpyAsync")) return code;
    add(stream_of(stream), {[=] { std::memcpy(to, from, num_bytes); }, nullptr, 0});
    return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from,
                              std::size_t from_pitch, std::size_t row_bytes, std::size_t num_rows,
                              cudaMemcpyKind, cudaStream_t stream) {
    const Lock lock(runtime.mutex);
    if (const cudaError_t code = begin_call("cudaMemcpy2DAsync")) return code;
    const auto copy = [=] {
        for (std::size_t y = 0; y < num_rows; ++y) {
            std::memcpy(static_cast<char*>(to) + y * to_pitch,
                        static_cast<const char*>(from) + y * from_pitch, row_bytes);
        }
    };
    add(stream_of(stream), {copy, nullptr, 0});
    return cudaSuccess;
}
