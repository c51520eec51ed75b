// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace dbnet {

/// A plane of a frame on the device: its address and bytes per row.
struct FramePlane {
    std::uintptr_t address;
    std::ptrdiff_t pitch;
};

/// Copies of a video decoder's frames, which the decoder overwrites with the next ones. Memory is
/// used again for frames of the same size. May be called from several threads.
class FrameMemory {
public:
    /// Throws EngineError if the device is missing or this build has no CUDA.
    explicit FrameMemory(int device);

    /// Handle of the stream on which frames are copied.
    std::uintptr_t stream() const;

    /// Copy both planes of an NV12 frame of even sides, one after the other with dense rows, behind
    /// the work on the stream, and wait until it is done. The memory is free again when the last
    /// owner is gone. Throws EngineError.
    std::shared_ptr<std::byte> copy(const FramePlane& luma, const FramePlane& chroma, int height,
                                    int width);

private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace dbnet
