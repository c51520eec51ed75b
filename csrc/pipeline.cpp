// SPDX-License-Identifier: Apache-2.0
//
// The CUDA pipeline: two streams and two slots. A batch is uploaded on one stream while the
// previous batch computes on the other. The first batch of a shape runs by plain launches, which
// also warms up the network. The second one from the same thread is captured, and from then on each
// batch of that shape is one graph launch.
#include "csrc/pipeline.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <list>
#include <mutex>
#include <thread>

#include "csrc/batch.hpp"
#include "csrc/errors.hpp"

namespace dbnet {
namespace {

constexpr int kMinCapacity = 1024;  // detections per image: 40 kB, a few microseconds to copy
constexpr int kMaxCaptures = 3;     // tries per shape: another thread may have broken a capture

cudaStream_t to_stream(std::uintptr_t handle) { return reinterpret_cast<cudaStream_t>(handle); }
std::uintptr_t to_handle(cudaStream_t stream) { return reinterpret_cast<std::uintptr_t>(stream); }

class CudaPipeline final : public Pipeline {
public:
    CudaPipeline(const PipelineConfig& config, NetworkCallbacks callbacks)
        : config_(config), callbacks_(std::move(callbacks)) {}
    ~CudaPipeline() override;

    Ticket submit(std::span<const BatchImage> images, Size padded,
                  const BatchOptions& options) override;
    JoinedMap join(Size size) override;
    Ticket submit_joined(const JoinedMap& joined, Size image, const BatchOptions& options) override;
    const BatchResult& collect(const Ticket& ticket) override;
    std::uintptr_t import_stream() const override { return to_handle(import_.get()); }
    PipelineUsage usage() const override;

private:
    ReadyShape& ready_shape(const Shape& shape, int capacity);
    ReadyShape make_shape(const Shape& shape, int capacity);
    void drop_last_shape();
    void capture(ReadyShape& ready);

    Slot& next_slot();
    void upload(Slot& slot, std::span<const BatchImage> images, const Batch& batch);
    void take_header(const Slot& slot, const ShapeBuffers& buffers);
    void compute(Slot& slot, ReadyShape& ready);
    void download(Slot& slot, ReadyShape& ready, const Batch& batch);
    void enqueue_shape(const ShapeBuffers& buffers);
    void enqueue_boxes(const ShapeBuffers& buffers);
    DeviceMaps maps_of(const ShapeBuffers& buffers) const;
    std::size_t bytes_per_value() const { return config_.output_is_half ? 2 : 4; }
    void finish(Slot& slot);
    void abandon(Slot& slot) noexcept;

    PipelineConfig config_;
    NetworkCallbacks callbacks_;
    mutable std::mutex mutex_;
    bool has_warned_ = false;
    UniqueStream upload_ = make_stream(), compute_ = make_stream(), import_ = make_stream();
    std::array<Slot, 2> slots_;
    std::size_t num_batches_ = 0;
    std::list<ReadyShape> shapes_;  // most recently used first
};

CudaPipeline::~CudaPipeline() {
    try {
        on_device(config_.device, [&] {
            for (Slot& slot : slots_) finish(slot);
            while (!shapes_.empty()) drop_last_shape();
        });
    } catch (const std::exception&) {  // the device is lost: there is nothing to wait for
        shapes_.clear();
    }
}

// ---- shapes -----------------------------------------------------------------------------------

void CudaPipeline::drop_last_shape() {
    const Shape shape = shapes_.back().buffers.shape;
    cudaStreamSynchronize(compute_.get());  // batches in flight use it; errors surface later
    shapes_.pop_back();
    for (const ReadyShape& other : shapes_) {
        if (other.buffers.shape == shape) return;
    }
    callbacks_.release(shape);
}

ReadyShape CudaPipeline::make_shape(const Shape& shape, int capacity) {
    std::size_t num_bytes = shape_bytes(config_, shape, capacity, true);
    for (const ReadyShape& other : shapes_) num_bytes += other.num_bytes();
    while (!shapes_.empty() && (shapes_.size() >= static_cast<std::size_t>(config_.max_shapes) ||
                                num_bytes > config_.max_bytes)) {
        num_bytes -= shapes_.back().num_bytes();
        drop_last_shape();
    }
    ReadyShape ready = allocate_shape(config_, shape, capacity, true);
    callbacks_.prepare(shape);
    return ready;
}

// Finds or makes the buffers of a shape and moves them to the front of the list.
ReadyShape& CudaPipeline::ready_shape(const Shape& shape, int capacity) {
    for (auto it = shapes_.begin(); it != shapes_.end(); ++it) {
        if (it->buffers.shape != shape || it->buffers.capacity != capacity) continue;
        shapes_.splice(shapes_.begin(), shapes_, it);
        return shapes_.front();
    }
    try {
        shapes_.push_front(make_shape(shape, capacity));
    } catch (const CudaError& error) {
        if (error.code != cudaErrorMemoryAllocation || shapes_.empty()) throw;
        while (!shapes_.empty()) drop_last_shape();  // they can be made again on demand
        shapes_.push_front(make_shape(shape, capacity));
    }
    return shapes_.front();
}

// ---- work on the compute stream ---------------------------------------------------------------

DeviceMaps CudaPipeline::maps_of(const ShapeBuffers& buffers) const {
    const auto& [batch, height, width] = buffers.shape;
    return {buffers.output, config_.output_is_half, buffers.header.map_sizes, batch, height, width};
}

void CudaPipeline::enqueue_shape(const ShapeBuffers& buffers) {
    const auto& [batch, height, width] = buffers.shape;
    const Normalization& normal = config_.normalization;
    const PreprocessParams params{batch,
                                  height,
                                  width,
                                  {normal.scale[0], normal.scale[1], normal.scale[2]},
                                  {normal.bias[0], normal.bias[1], normal.bias[2]},
                                  normal.swap_red_blue,
                                  config_.input_is_half};
    preprocess(buffers.header.images, params, buffers.input, compute_.get());
    callbacks_.enqueue(buffers.input, buffers.output, buffers.shape, to_handle(compute_.get()));
    enqueue_boxes(buffers);
}

void CudaPipeline::enqueue_boxes(const ShapeBuffers& buffers) {
    find_boxes(maps_of(buffers), buffers.header.image_sizes, buffers.header.params,
               buffers.workspace, {buffers.found.counts, buffers.found.boxes, buffers.capacity},
               compute_.get());
}

// Captures the shape's graph. If every try fails, the shape keeps running by plain launches, with
// one warning per pipeline.
void CudaPipeline::capture(ReadyShape& ready) {
    ++ready.num_captures;
    std::string problem;
    cudaGraph_t captured = nullptr;
    cuda_check(cudaStreamSynchronize(compute_.get()));
    cudaError_t status = cudaStreamBeginCapture(compute_.get(), cudaStreamCaptureModeThreadLocal);
    if (status == cudaSuccess) {
        try {
            enqueue_shape(ready.buffers);
        } catch (const std::exception& error) {
            problem = error.what();
            problem.resize(std::min(problem.size(), problem.find('\n')));  // no traceback
        }
        status = cudaStreamEndCapture(compute_.get(), &captured);
    }
    const UniqueGraph graph(captured);
    if (status == cudaSuccess && problem.empty()) {
        cudaGraphExec_t exec = nullptr;
        status = cudaGraphInstantiateWithFlags(&exec, captured, 0);
        ready.graph.reset(exec);
        if (status == cudaSuccess) return;
    }
    cudaGetLastError();
    if (problem.empty()) problem = cudaGetErrorString(status);
    if (ready.num_captures < kMaxCaptures || std::exchange(has_warned_, true)) return;
    callbacks_.warn("work on the GPU could not be captured in a graph (" + problem +
                    "); it continues with plain launches, which take some more CPU time");
}

// Waits for a batch's upload, and puts what differs between batches where its shape reads it.
void CudaPipeline::take_header(const Slot& slot, const ShapeBuffers& buffers) {
    cuda_check(cudaStreamWaitEvent(compute_.get(), slot.uploaded.get()));
    // A copy within the device: the copy engine may be busy uploading the next batch's pixels.
    cuda_check(cudaMemcpyAsync(buffers.header.params, slot.upload.data(),
                               UploadHeader::num_bytes(buffers.shape.batch), cudaMemcpyDefault,
                               compute_.get()));
}

void CudaPipeline::compute(Slot& slot, ReadyShape& ready) {
    take_header(slot, ready.buffers);
    const bool wants_graph = config_.captures && !ready.graph && ready.num_captures < kMaxCaptures;
    std::vector<std::thread::id>& warm = ready.warm_threads;
    const std::thread::id thread = std::this_thread::get_id();
    const bool is_warm = std::find(warm.begin(), warm.end(), thread) != warm.end();
    if (wants_graph && is_warm) capture(ready);
    if (ready.graph) {
        cuda_check(cudaGraphLaunch(ready.graph.get(), compute_.get()));
        return;
    }
    enqueue_shape(ready.buffers);
    if (wants_graph && !is_warm) warm.push_back(thread);
}

// ---- batches ----------------------------------------------------------------------------------

void CudaPipeline::upload(Slot& slot, std::span<const BatchImage> images, const Batch& batch) {
    const std::size_t num_bytes = upload_bytes(images);
    slot.staging.reserve(num_bytes);
    slot.upload.reserve(num_bytes);
    write_upload(images, batch.options.params, slot.staging.data(), slot.upload.data());
    cuda_check(cudaMemcpyAsync(slot.upload.data(), slot.staging.data(), num_bytes,
                               cudaMemcpyDefault, upload_.get()));
    cuda_check(cudaEventRecord(slot.uploaded.get(), upload_.get()));
    for (const std::uintptr_t caller : batch.options.streams) {
        cuda_check(cudaEventRecord(slot.caller.get(), to_stream(caller)));
        cuda_check(cudaStreamWaitEvent(compute_.get(), slot.caller.get()));
    }
}

void CudaPipeline::download(Slot& slot, ReadyShape& ready, const Batch& batch) {
    const ShapeBuffers& buffers = ready.buffers;
    const std::size_t found_bytes = BatchBoxes::num_bytes(buffers.shape.batch, buffers.capacity);
    const std::size_t map_bytes =
        batch.options.wants_maps ? buffers.num_pixels() * bytes_per_value() : 0;
    const std::size_t label_bytes =
        batch.options.wants_labels ? buffers.num_pixels() * sizeof(std::uint32_t) : 0;
    slot.results.reserve(found_bytes + map_bytes + label_bytes + 2 * 256);  // three arrays, aligned
    Arena arena(slot.results.data());
    const auto copy = [&](const void* from, std::size_t num_bytes) {
        cuda_check(cudaMemcpyAsync(arena.allocate<std::byte>(num_bytes), from, num_bytes,
                                   cudaMemcpyDefault, compute_.get()));
    };
    copy_parts(buffers, batch.options, bytes_per_value(), compute_.get());
    copy(buffers.found.counts, found_bytes);
    if (map_bytes > 0) copy(buffers.output, map_bytes);
    if (label_bytes > 0) {
        ready.labels.reserve(label_bytes);
        auto* labels = reinterpret_cast<std::uint32_t*>(ready.labels.data());
        write_box_labels(maps_of(buffers), buffers.workspace, labels, compute_.get());
        copy(labels, label_bytes);
    }
    cuda_check(cudaEventRecord(slot.done.get(), compute_.get()));
    for (const std::uintptr_t caller : batch.options.streams) {
        cuda_check(cudaStreamWaitEvent(to_stream(caller), slot.done.get()));
    }
}

// Waits for the batch in a slot, stores its result for the ticket, and frees the slot.
void CudaPipeline::finish(Slot& slot) {
    if (!slot.batch) return;
    Batch& batch = *slot.batch;
    try {
        cuda_check(cudaEventSynchronize(slot.done.get()));
        batch.result = read_result(batch, bytes_per_value(), slot.results.data());
    } catch (const CudaError& error) {
        batch.error = std::make_exception_ptr(error);
    }
    batch.options.joined = {};  // its memory
    batch.slot = nullptr;
    slot.batch.reset();
}

// Frees a slot after an error, once no work that reads it is left on the streams.
void CudaPipeline::abandon(Slot& slot) noexcept {
    cudaStreamSynchronize(upload_.get());
    cudaStreamSynchronize(compute_.get());
    cudaGetLastError();
    slot.batch.reset();
}

Slot& CudaPipeline::next_slot() {
    Slot& slot = slots_[num_batches_++ % slots_.size()];
    finish(slot);
    return slot;
}

Ticket CudaPipeline::submit(std::span<const BatchImage> images, Size padded,
                            const BatchOptions& options) {
    const std::lock_guard lock(mutex_);
    return on_device(config_.device, [&] {
        const Shape shape{static_cast<int>(images.size()), padded.height, padded.width};
        const auto wanted = static_cast<unsigned>(std::max(1, options.params.max_candidates));
        const int capacity =
            std::clamp(static_cast<int>(std::bit_ceil(std::min<unsigned>(wanted, kMaxCandidates))),
                       kMinCapacity, kMaxCandidates);
        Slot& slot = next_slot();
        auto batch = std::make_shared<Batch>(Batch{this, options, shape, capacity, &slot, {}, {}});
        ReadyShape& ready = ready_shape(shape, capacity);
        try {
            upload(slot, images, *batch);
            compute(slot, ready);
            download(slot, ready, *batch);
        } catch (...) {
            abandon(slot);
            shapes_.splice(shapes_.end(), shapes_, shapes_.begin());
            drop_last_shape();  // its workspace may be left in an invalid state
            throw;
        }
        slot.batch = batch;
        return Ticket{batch};
    });
}

JoinedMap CudaPipeline::join(Size size) {
    const Shape shape{1, size.height, size.width};
    const std::lock_guard lock(mutex_);
    return on_device(config_.device, [&]() -> JoinedMap {
        if (std::max(size.height, size.width) > kMaxMapSide ||
            shape_bytes(config_, shape, kMaxCandidates, false) > config_.max_bytes) {
            return {};
        }
        try {
            return {
                std::make_shared<ReadyShape>(allocate_shape(config_, shape, kMaxCandidates, false)),
                size};
        } catch (const CudaError& error) {
            if (error.code == cudaErrorMemoryAllocation) return {};
            throw;
        }
    });
}

Ticket CudaPipeline::submit_joined(const JoinedMap& joined, Size image,
                                   const BatchOptions& options) {
    const std::lock_guard lock(mutex_);
    return on_device(config_.device, [&] {
        ReadyShape& ready = *joined.shape;
        const ShapeBuffers& buffers = ready.buffers;
        const BatchImage whole{{nullptr, image.height, image.width, 0}, joined.size, true};
        Slot& slot = next_slot();
        auto batch = std::make_shared<Batch>(
            Batch{this, options, buffers.shape, buffers.capacity, &slot, {}, {}});
        batch->options.joined = joined;  // which lives as long, so
        try {
            upload(slot, {&whole, 1}, *batch);
            take_header(slot, buffers);
            enqueue_boxes(buffers);
            download(slot, ready, *batch);
        } catch (...) {
            abandon(slot);
            throw;
        }
        slot.batch = batch;
        return Ticket{batch};
    });
}

const BatchResult& CudaPipeline::collect(const Ticket& ticket) {
    Batch& batch = *ticket.batch;
    if (batch.owner != this) throw std::invalid_argument("the ticket belongs to another detector");
    return on_device(config_.device, [&]() -> const BatchResult& {
        std::unique_lock lock(mutex_);
        if (Slot* const slot = batch.slot) {
            lock.unlock();  // others may submit; if they need the slot, they finish the batch
            cudaEventSynchronize(slot->done.get());  // `finish` reports its error
            lock.lock();
        }
        if (batch.slot != nullptr) finish(*batch.slot);
        if (batch.error) std::rethrow_exception(batch.error);
        return batch.result;
    });
}

PipelineUsage CudaPipeline::usage() const {
    const std::lock_guard lock(mutex_);
    PipelineUsage usage{0, 0, static_cast<int>(shapes_.size()), 0};
    for (const ReadyShape& ready : shapes_) {
        usage.device_bytes += ready.num_bytes();
        usage.num_graphs += ready.graph != nullptr;
    }
    for (const Slot& slot : slots_) {
        usage.device_bytes += slot.upload.size();
        usage.pinned_bytes += slot.staging.size() + slot.results.size();
    }
    return usage;
}

}  // namespace

std::unique_ptr<Pipeline> make_pipeline(const PipelineConfig& config, NetworkCallbacks callbacks) {
    return on_device(config.device, [&]() -> std::unique_ptr<Pipeline> {
        return std::make_unique<CudaPipeline>(config, std::move(callbacks));
    });
}

}  // namespace dbnet
