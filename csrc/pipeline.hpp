// SPDX-License-Identifier: Apache-2.0
//
// Images in, text out, on the GPU. Without CUDA the same header stands before a build that says so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "csrc/postprocess.hpp"
#include "csrc/preprocess.hpp"

namespace dbnet {

/// Whether this build has CUDA code and the machine a driver and a device for it. Never throws.
bool cuda_available() noexcept;

/// Of the network's input, without its three channels.
struct Shape {
    int batch, height, width;

    bool operator==(const Shape&) const = default;
};

/// The network, whatever runs it. A stream is the handle of CUDA as a number.
struct Network {
    /// Gets ready for a shape; may wait and allocate.
    std::function<void(const Shape&)> prepare;
    /// Enqueues (batch, 3, height, width) -> (batch, height, width) on a stream, which may be
    /// capturing a graph.
    std::function<void(const void* input, void* output, const Shape&, std::uintptr_t stream)>
        enqueue;
    /// No graph uses a shape any more: what was prepared for it may go.
    std::function<void(const Shape&)> release;
    /// Takes a message for the log.
    std::function<void(const std::string&)> warn;
};

struct PipelineConfig {
    int device;
    bool input_is_half, output_is_half;
    bool captures;          // graphs; otherwise plain launches
    int max_shapes;         // shapes that stay ready, the ones used last
    std::size_t max_bytes;  // of device memory that they take; one shape may take more
    Normalization normalization;
};

/// An image in host memory or on the device, and its size within the network's input. It is BGR,
/// or, with `chroma`, NV12: the view is then its plane of luma, a byte a pixel.
struct FrameImage {
    ImageView view;
    Size resized;
    bool on_device;
    const std::uint8_t* chroma = nullptr;  // half as many rows of as many bytes as the luma has
    std::ptrdiff_t chroma_pitch = 0;
};

struct FrameOptions {
    PostprocessParams params;
    bool wants_maps;                      // the network's output, too
    bool wants_labels;                    // and the components of the thresholded maps
    std::vector<std::uintptr_t> streams;  // of the caller: images are read, and may then be
                                          // overwritten, in their order
};

/// Text of the images of a frame, in pixels of the image, best score first, clipped.
struct FrameResult {
    std::vector<std::vector<ScoredQuad>> texts;
    std::uint32_t num_dropped = 0;      // texts beyond what the kernels list
    std::vector<std::byte> maps;        // (batch, height, width) float or half, or nothing
    std::vector<std::uint32_t> labels;  // (batch, height, width): 1 + the first pixel of the
                                        // component, counted y * width + x; 0 elsewhere; or nothing
};

/// What is held at the moment.
struct PipelineUsage {
    std::size_t device_bytes, pinned_bytes;  // without the network's own
    int num_shapes, num_graphs;
};

struct Frame;

/// A frame that was submitted.
struct Ticket {
    std::shared_ptr<Frame> frame;
};

/// Owns streams, buffers and graphs of one device. May be shared between threads.
class Pipeline {
public:
    virtual ~Pipeline() = default;

    /// Enqueues a frame and returns: one image or more, all with the same padded size, a multiple
    /// of 32. Pixels in host memory have been read then; those on the device are read in the order
    /// of the caller's streams. Throws EngineError.
    virtual Ticket submit(std::span<const FrameImage> images, Size padded,
                          const FrameOptions& options) = 0;

    /// Waits for a frame. May be called again. Throws EngineError.
    virtual const FrameResult& collect(const Ticket& ticket) = 0;

    /// Handle of a stream in whose order owners may bring images on the device; it is then one of
    /// the caller's streams. Nothing is captured on it: any thread may use it at any time.
    virtual std::uintptr_t import_stream() const = 0;

    virtual PipelineUsage usage() const = 0;
};

/// Throws EngineError where there is no such device, or no CUDA in this build.
std::unique_ptr<Pipeline> make_pipeline(const PipelineConfig& config, Network network);

}  // namespace dbnet
