// SPDX-License-Identifier: Apache-2.0
#include "csrc/frame_memory.hpp"

#include <mutex>
#include <vector>

#include "csrc/device.hpp"

namespace dbnet {

struct FrameMemory::State {
    int device;
    UniqueStream stream;
    std::mutex mutex;
    std::size_t frame_bytes = 0;
    std::vector<DeviceBuffer> unused;  // each of frame_bytes

    ~State() {
        try {
            on_device(device, [&] {
                unused.clear();
                stream.reset();
            });
        } catch (const std::exception&) {  // the device is lost
        }
    }

    DeviceBuffer take(std::size_t num_bytes) {
        const std::lock_guard lock(mutex);
        if (num_bytes != frame_bytes) unused.clear();
        frame_bytes = num_bytes;
        DeviceBuffer buffer;
        if (!unused.empty()) {
            buffer = std::move(unused.back());
            unused.pop_back();
        }
        buffer.reserve(num_bytes);
        return buffer;
    }

    void give_back(DeviceBuffer buffer) {
        const std::lock_guard lock(mutex);
        if (buffer.size() == frame_bytes) unused.push_back(std::move(buffer));
    }
};

FrameMemory::FrameMemory(int device) {
    state_ = on_device(device, [&] {
        return std::shared_ptr<State>(new State{device, make_stream(), {}, 0, {}});
    });
}

std::uintptr_t FrameMemory::stream() const {
    return reinterpret_cast<std::uintptr_t>(state_->stream.get());
}

std::shared_ptr<std::byte> FrameMemory::copy(const FramePlane& luma, const FramePlane& chroma,
                                             int height, int width) {
    return on_device(state_->device, [&] {
        const std::size_t row = width, num_bytes = row * height * 3 / 2;
        // Gives its memory back, after the frame, where copying fails as well.
        struct Owner {
            std::shared_ptr<State> state;
            DeviceBuffer buffer;
            ~Owner() { state->give_back(std::move(buffer)); }
        };
        const std::shared_ptr<Owner> owner(new Owner{state_, state_->take(num_bytes)});
        std::byte* at = owner->buffer.data();
        const cudaStream_t stream = state_->stream.get();
        const auto add = [&](const FramePlane& plane, std::size_t num_rows) {
            cuda_check(cudaMemcpy2DAsync(at, row, reinterpret_cast<const void*>(plane.address),
                                         plane.pitch, row, num_rows, cudaMemcpyDefault, stream));
            at += row * num_rows;
        };
        add(luma, height);
        add(chroma, height / 2);
        cuda_check(cudaStreamSynchronize(stream));
        return std::shared_ptr<std::byte>(owner, owner->buffer.data());
    });
}

}  // namespace dbnet
