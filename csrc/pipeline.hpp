// SPDX-License-Identifier: Apache-2.0
//
// Detection on the GPU: images in, quads out. In a build without CUDA every call throws
// EngineError.
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
#include "kernels/yuv_colors.hpp"

namespace dbnet {

/// Shape of the network's input, without its three channels.
struct Shape {
    int batch, height, width;

    bool operator==(const Shape&) const = default;
};

/// How the pipeline calls the network, whichever library runs it. A stream is a CUDA stream handle
/// as a number.
struct NetworkCallbacks {
    /// Prepare for a shape. May allocate and synchronise.
    std::function<void(const Shape&)> prepare;
    /// Enqueue (batch, 3, height, width) -> (batch, height, width), both on the device, on a stream
    /// that may be capturing a graph.
    std::function<void(const void* input, void* output, const Shape&, std::uintptr_t stream)>
        enqueue;
    /// Free what was prepared for a shape: no graph uses it any more.
    std::function<void(const Shape&)> release;
    /// Log a warning.
    std::function<void(const std::string&)> warn;
};

/// Configuration of a pipeline.
struct PipelineConfig {
    int device;                          // CUDA ordinal
    bool input_is_half, output_is_half;  // of the network; otherwise float
    bool captures;                       // replay CUDA graphs; otherwise plain launches
    int max_shapes;                      // shapes kept ready, the most recently used ones
    std::size_t max_bytes;               // of device memory for them; one shape may exceed it
    Normalization normalization;
};

/// An image in host memory or on the device, and its size within the network's input. BGR, or NV12
/// if `chroma` is set: then `view` is the luma plane, one byte per pixel.
struct BatchImage {
    ImageView view;
    Size resized;
    bool on_device;
    const std::uint8_t* chroma = nullptr;  // (view.height / 2, view.width) uint8
    std::ptrdiff_t chroma_pitch = 0;       // bytes per row
    YuvColors colors{};                    // of NV12
};

struct ReadyShape;

/// A handle to a map on the device in which the maps of tiles are joined. It is freed with its last
/// handle.
struct JoinedMap {
    std::shared_ptr<ReadyShape> shape;
    Size size;
};

/// The part of a tile's map that a joined map takes, in pixels.
struct TilePart {
    int y, x;                // in the tile
    int height, width;       // of the part
    int joined_y, joined_x;  // in the joined map
};

/// What to find in a batch and what to return.
struct BatchOptions {
    PostprocessParams params;
    bool wants_maps;                      // return the network's output
    bool wants_labels;                    // return the components of the binary map
    std::vector<std::uintptr_t> streams;  // of the caller: images on the device are read, and may
                                          // be overwritten afterwards, in the order of these
    JoinedMap joined = {};                // takes `parts` of the maps, one of each, if it is set
    std::vector<TilePart> parts = {};
};

/// Detections in a batch, in pixels of each image, best score first, clipped to the image. In host
/// memory.
struct BatchResult {
    std::vector<std::vector<ScoredQuad>> texts;  // one list per image
    std::uint32_t num_dropped = 0;               // detections beyond the GPU's 8192 per image
    std::vector<std::byte> maps;        // (batch, height, width) float or half; empty unless wanted
    std::vector<std::uint32_t> labels;  // (batch, height, width): 1 + the first pixel of the
                                        // component, as y * width + x; 0 elsewhere; empty unless
                                        // wanted
};

/// Memory that a pipeline holds, without the network's own.
struct PipelineUsage {
    std::size_t device_bytes, pinned_bytes;
    int num_shapes, num_graphs;
};

struct Batch;

/// A handle to a submitted batch.
struct Ticket {
    std::shared_ptr<Batch> batch;
};

/// Streams, buffers and graphs of one device. May be shared between threads.
class Pipeline {
public:
    virtual ~Pipeline() = default;

    /// Enqueue a batch of at least one image; all have the same padded size, a multiple of 32.
    /// Returns before the text is found. Pixels in host memory have been read by then; those on the
    /// device are read in the order of the caller's streams. Throws EngineError.
    virtual Ticket submit(std::span<const BatchImage> images, Size padded,
                          const BatchOptions& options) = 0;

    /// Make a map in which tiles can be joined, of the network's type; every pixel is written by
    /// some part before it is searched. Without memory if it has a side over 8192 or does not fit
    /// into `max_bytes` or the device.
    virtual JoinedMap join(Size size) = 0;

    /// Enqueue the search of a joined map, once the batches with its parts are submitted. `image`
    /// is the size that it stands for. Throws EngineError.
    virtual Ticket submit_joined(const JoinedMap& joined, Size image,
                                 const BatchOptions& options) = 0;

    /// Wait for a batch and return its result, which lives as long as the ticket. May be called
    /// again. Throws EngineError; std::invalid_argument for another pipeline's ticket.
    virtual const BatchResult& collect(const Ticket& ticket) = 0;

    /// Handle of a stream on which owners may make images available on the device; pass it to
    /// `submit` as one of the caller's streams. No graph is captured on it: any thread may use it
    /// at any time.
    virtual std::uintptr_t import_stream() const = 0;

    /// Memory and graphs held at the moment.
    virtual PipelineUsage usage() const = 0;
};

/// Open a pipeline. Throws EngineError where there is no such device, or no CUDA in this build.
std::unique_ptr<Pipeline> make_pipeline(const PipelineConfig& config, NetworkCallbacks callbacks);

}  // namespace dbnet
