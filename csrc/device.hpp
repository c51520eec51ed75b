// SPDX-License-Identifier: Apache-2.0
//
// RAII owners of CUDA streams, events, graphs and memory. Destructors never throw: once a device is
// lost there is nothing left to release.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>

#include "csrc/errors.hpp"
#include "kernels/stream.hpp"

namespace dbnet {

/// Throw CudaError with the place of the call, unless it succeeded.
inline void cuda_check(cudaError_t status,
                       std::source_location where = std::source_location::current()) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // clear it, so the next call does not report this one again
    const std::string file = where.file_name();
    throw CudaError(file.substr(file.rfind('/') + 1) + ":" + std::to_string(where.line()), status);
}

/// Make a device's primary context current for the calling thread. Throws CudaError.
void push_context(int device);

/// Undo the last `push_context` of the calling thread.
void pop_context() noexcept;

/// Makes a device current for the calling thread, and restores the previous one at the end.
///
/// To set the previous device would create a context on it, and take its memory, where it has none.
/// So another device's context is pushed instead, and popped at the end.
class DeviceGuard {
public:
    explicit DeviceGuard(int device) {
        int current = 0;
        cuda_check(cudaGetDevice(&current));
        if (current == device) return;
        push_context(device);
        pushed_ = true;
    }
    ~DeviceGuard() {
        if (pushed_) pop_context();
    }
    DeviceGuard(const DeviceGuard&) = delete;
    DeviceGuard& operator=(const DeviceGuard&) = delete;

private:
    bool pushed_ = false;
};

/// What to do after a CUDA error.
std::string remedy(cudaError_t code);

/// Run a function with the device current; rethrow CUDA errors as EngineError with a remedy.
template <class Function>
decltype(auto) on_device(int device, Function function) {
    try {
        const DeviceGuard guard(device);
        return function();
    } catch (const CudaError& error) {
        throw EngineError(std::string("CUDA failed (") + error.what() + "): " + remedy(error.code));
    }
}

/// Deleter that passes a CUDA handle to its destroy function.
template <class Handle, auto kDestroy>
struct Destroy {
    using pointer = Handle;
    void operator()(Handle handle) const { kDestroy(handle); }
};

/// Owner of a CUDA handle.
template <class Handle, auto kDestroy>
using Unique = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy<Handle, kDestroy>>;

using UniqueStream = Unique<cudaStream_t, &cudaStreamDestroy>;
using UniqueEvent = Unique<cudaEvent_t, &cudaEventDestroy>;
using UniqueGraph = Unique<cudaGraph_t, &cudaGraphDestroy>;
using UniqueGraphExec = Unique<cudaGraphExec_t, &cudaGraphExecDestroy>;

/// Create a stream that does not synchronise with the legacy default stream.
inline UniqueStream make_stream() {
    cudaStream_t stream;
    cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return UniqueStream(stream);
}

/// Create an event without timing.
inline UniqueEvent make_event() {
    cudaEvent_t event;
    cuda_check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    return UniqueEvent(event);
}

/// Allocate device memory.
inline cudaError_t allocate_device(void** data, std::size_t num_bytes) {
    return cudaMalloc(data, num_bytes);
}

/// Allocate pinned host memory.
inline cudaError_t allocate_pinned(void** data, std::size_t num_bytes) {
    return cudaHostAlloc(data, num_bytes, cudaHostAllocDefault);
}

/// Growing memory of one kind, aligned to 256 bytes.
template <auto kAllocate, auto kFree>
class Buffer {
public:
    /// Grow to at least `num_bytes`. Growing discards the contents; nothing may be using them.
    void reserve(std::size_t num_bytes,
                 std::source_location where = std::source_location::current()) {
        if (num_bytes <= size_) return;
        // Image sizes vary: growing by half keeps the number of allocations small.
        const std::size_t wanted = size_ == 0 ? num_bytes : std::max(num_bytes, size_ + size_ / 2);
        data_.reset();
        size_ = 0;
        void* data = nullptr;
        cuda_check(kAllocate(&data, wanted), where);
        data_.reset(data);
        size_ = wanted;
    }

    /// The memory, nullptr before the first `reserve`.
    std::byte* data() const { return static_cast<std::byte*>(data_.get()); }
    /// Size in bytes.
    std::size_t size() const { return size_; }

private:
    struct Free {
        void operator()(void* data) const { kFree(data); }
    };
    std::unique_ptr<void, Free> data_;
    std::size_t size_ = 0;
};

using DeviceBuffer = Buffer<&allocate_device, &cudaFree>;
using PinnedBuffer = Buffer<&allocate_pinned, &cudaFreeHost>;

/// Places arrays, aligned to 256 bytes, one after the other in a buffer. With nullptr it only
/// counts their bytes.
class Arena {
public:
    explicit Arena(void* begin) : begin_(static_cast<std::byte*>(begin)) {}

    /// Place an array of `count` items behind the previous ones.
    template <class Item>
    Item* allocate(std::size_t count) {
        Item* items = reinterpret_cast<Item*>(begin_ + size_);
        size_ += (count * sizeof(Item) + 255) / 256 * 256;
        return items;
    }
    /// Bytes used so far.
    std::size_t size() const { return size_; }

private:
    std::byte* begin_;
    std::size_t size_ = 0;
};

}  // namespace dbnet
