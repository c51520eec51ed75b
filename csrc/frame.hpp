// SPDX-License-Identifier: Apache-2.0
//
// Memory of the pipeline: of a shape, which its graph works in, and of a frame on its way.
#pragma once

#include <exception>

#include "csrc/device.hpp"
#include "csrc/pipeline.hpp"
#include "kernels/boxes.hpp"
#include "kernels/preprocess.hpp"

namespace dbnet {

/// What differs from frame to frame, at the start of its upload.
struct FrameHeader {
    BoxParams* params;
    DeviceImage* images;   // (batch)
    MapSize* map_sizes;    // (batch), parts of the maps that show the images
    MapSize* image_sizes;  // (batch)

    FrameHeader(Cutter& at, int batch)
        : params(at.cut<BoxParams>(1)),
          images(at.cut<DeviceImage>(batch)),
          map_sizes(at.cut<MapSize>(batch)),
          image_sizes(at.cut<MapSize>(batch)) {}

    static std::size_t num_bytes(int batch) {
        Cutter at(nullptr);
        FrameHeader(at, batch);
        return at.size();
    }
};

/// What comes down after every frame.
struct FrameBoxes {
    BoxCount* counts;  // (batch)
    TextBox* boxes;    // (batch, capacity)

    FrameBoxes(Cutter& at, int batch, int capacity)
        : counts(at.cut<BoxCount>(batch)),
          boxes(at.cut<TextBox>(static_cast<std::size_t>(batch) * capacity)) {}

    static std::size_t num_bytes(int batch, int capacity) {
        Cutter at(nullptr);
        FrameBoxes(at, batch, capacity);
        return at.size();
    }
};

/// Device memory of one shape, at addresses that its graph knows.
struct ShapeBuffers {
    Shape shape;
    int capacity;  // texts of an image
    FrameHeader header;
    FrameBoxes found;
    std::byte *input, *output, *workspace;

    ShapeBuffers(Cutter& at, const PipelineConfig& config, const Shape& shape, int capacity)
        : shape(shape),
          capacity(capacity),
          header(at, shape.batch),
          found(at, shape.batch, capacity),
          input(at.cut<std::byte>(3 * num_pixels() * (config.input_is_half ? 2 : 4))),
          output(at.cut<std::byte>(num_pixels() * (config.output_is_half ? 2 : 4))),
          workspace(at.cut<std::byte>(workspace_bytes())) {}

    std::size_t num_pixels() const {
        return static_cast<std::size_t>(shape.batch) * shape.height * shape.width;
    }
    std::size_t workspace_bytes() const {
        return box_workspace_bytes(shape.batch, shape.height, shape.width);
    }
};

/// A frame, until it is collected or its slot is needed; then it holds the result.
struct Frame {
    const Pipeline* owner;
    FrameOptions options;
    Shape shape;
    int capacity;
    struct FrameSlot* slot;  // nullptr: done
    FrameResult result;
    std::exception_ptr error;
};

/// Memory of a frame on its way. Two of them: one is filled and uploaded while the other computes.
struct FrameSlot {
    PinnedBuffer staging;  // header, taps, pixels
    DeviceBuffer upload;   // the same
    PinnedBuffer results;  // counts and boxes, maps, labels
    UniqueEvent uploaded = make_event(), caller = make_event(), done = make_event();
    std::shared_ptr<Frame> frame;  // that occupies it
};

/// Bytes of a frame's upload, and writes it: to `host`, for the address `device`.
std::size_t frame_bytes(std::span<const FrameImage> images);
void write_frame(std::span<const FrameImage> images, const PostprocessParams& params,
                 std::byte* host, std::byte* device);

/// The result that came down to `results`.
FrameResult read_frame(const Frame& frame, std::size_t bytes_per_value, std::byte* results);

}  // namespace dbnet
