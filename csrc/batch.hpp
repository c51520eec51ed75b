// SPDX-License-Identifier: Apache-2.0
//
// Memory of the GPU pipeline: the buffers of one input shape, and those of a batch in flight.
#pragma once

#include <exception>
#include <thread>
#include <vector>

#include "csrc/device.hpp"
#include "csrc/pipeline.hpp"
#include "kernels/boxes.hpp"
#include "kernels/preprocess.hpp"

namespace dbnet {

/// The first part of a batch's upload: what differs between batches of the same shape. Arrays in
/// `arena`, on the host or on the device.
struct UploadHeader {
    BoxParams* params;
    DeviceImage* images;   // (num_images)
    MapSize* map_sizes;    // (num_images), parts of the maps that show the images
    MapSize* image_sizes;  // (num_images)

    UploadHeader(Arena& arena, int num_images)
        : params(arena.allocate<BoxParams>(1)),
          images(arena.allocate<DeviceImage>(num_images)),
          map_sizes(arena.allocate<MapSize>(num_images)),
          image_sizes(arena.allocate<MapSize>(num_images)) {}

    /// Size of these arrays in bytes.
    static std::size_t num_bytes(int num_images) {
        Arena arena(nullptr);
        UploadHeader(arena, num_images);
        return arena.size();
    }
};

/// The first part of a batch's download. Arrays in `arena`, on the host or on the device.
struct BatchBoxes {
    BoxCount* counts;  // (num_images)
    TextBox* boxes;    // (num_images, capacity)

    BatchBoxes(Arena& arena, int num_images, int capacity)
        : counts(arena.allocate<BoxCount>(num_images)),
          boxes(arena.allocate<TextBox>(static_cast<std::size_t>(num_images) * capacity)) {}

    /// Size of these arrays in bytes.
    static std::size_t num_bytes(int num_images, int capacity) {
        Arena arena(nullptr);
        BatchBoxes(arena, num_images, capacity);
        return arena.size();
    }
};

/// Device memory for one shape, at the fixed addresses that its graph reads and writes.
struct ShapeBuffers {
    Shape shape;
    int capacity;  // maximum number of detections per image
    UploadHeader header;
    BatchBoxes found;
    std::byte *input, *output, *workspace;

    ShapeBuffers(Arena& arena, const PipelineConfig& config, const Shape& shape, int capacity,
                 bool has_input)
        : shape(shape),
          capacity(capacity),
          header(arena, shape.batch),
          found(arena, shape.batch, capacity),
          input(arena.allocate<std::byte>(
              has_input ? 3 * num_pixels() * (config.input_is_half ? 2 : 4) : 0)),
          output(arena.allocate<std::byte>(num_pixels() * (config.output_is_half ? 2 : 4))),
          workspace(arena.allocate<std::byte>(workspace_bytes())) {}

    std::size_t num_pixels() const {
        return static_cast<std::size_t>(shape.batch) * shape.height * shape.width;
    }
    std::size_t workspace_bytes() const {
        return box_workspace_bytes(shape.batch, shape.height, shape.width);
    }
};

/// Buffers and graph of a shape that is ready to run.
struct ReadyShape {
    DeviceBuffer memory, labels;
    ShapeBuffers buffers;
    UniqueGraphExec graph;
    int num_captures = 0;  // including failed ones
    // Threads that have run it by plain launches. Libraries create per-thread state at the first
    // run (handles of cuDNN and cuBLAS), which is impossible while capturing.
    std::vector<std::thread::id> warm_threads;

    std::size_t num_bytes() const { return memory.size() + labels.size(); }
};

/// Size of a shape's memory in bytes. Without `has_input` it is that of a joined map.
std::size_t shape_bytes(const PipelineConfig& config, const Shape& shape, int capacity,
                        bool has_input);

/// Allocate a shape's memory. Throws CudaError.
ReadyShape allocate_shape(const PipelineConfig& config, const Shape& shape, int capacity,
                          bool has_input);

/// A submitted batch. Occupies a slot until it is collected or its slot is needed; holds the result
/// afterwards.
struct Batch {
    const Pipeline* owner;
    BatchOptions options;
    Shape shape;
    int capacity;
    struct Slot* slot;  // nullptr once the result is here
    BatchResult result;
    std::exception_ptr error;
};

/// Memory of one batch in flight. There are two slots: one is filled and uploaded while the batch
/// in the other computes.
struct Slot {
    PinnedBuffer staging;  // header, taps, pixels
    DeviceBuffer upload;   // the same
    PinnedBuffer results;  // counts and boxes, maps, labels
    UniqueEvent uploaded = make_event(), caller = make_event(), done = make_event();
    std::shared_ptr<Batch> batch;  // the batch that occupies the slot
};

/// Size of a batch's upload in bytes.
std::size_t upload_bytes(std::span<const BatchImage> images);

/// Write a batch's upload to host memory at `host`; its pointers are valid once it has been copied
/// to `device`.
void write_upload(std::span<const BatchImage> images, const PostprocessParams& params,
                  std::byte* host, std::byte* device);

/// Copy the parts of a batch's maps, if there are any, to where they belong in the joined map.
/// Asynchronous on the stream. Throws CudaError.
void copy_parts(const ShapeBuffers& maps, const BatchOptions& options, std::size_t bytes_per_value,
                cudaStream_t stream);

/// Read a batch's result from the download in host memory at `results`.
BatchResult read_result(const Batch& batch, std::size_t bytes_per_value, std::byte* results);

}  // namespace dbnet
