// SPDX-License-Identifier: Apache-2.0
//
// Two streams and two slots. A frame's upload runs on one stream while the frame before it computes
// on the other. A shape's first frame runs by plain launches, which also warms the network up; with
// its second frame from the same thread the same launches are captured, and from then on a frame is
// one graph launch.
#include "csrc/pipeline.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <list>
#include <mutex>
#include <thread>

#include "csrc/errors.hpp"
#include "csrc/frame.hpp"

namespace dbnet {
namespace {

constexpr int kMinCapacity = 1024;  // texts of an image: 40 kB, a few microseconds to copy
constexpr int kMaxCaptures = 3;     // of a shape: what fails may be another thread's doing

std::string remedy(cudaError_t code) {
    switch (code) {
        case cudaErrorMemoryAllocation:
            return "the GPU has no memory left; use a smaller batch_size or size, or end other "
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
                   "tell why); detectors on the CPU go on";
        default:
            return "if it comes again, device=\"cpu\" works without the GPU";
    }
}

// Runs a function with the device current; CUDA's errors come out with their remedy.
template <class Function>
decltype(auto) on_device(int device, Function function) {
    try {
        const DeviceGuard guard(device);
        return function();
    } catch (const CudaError& error) {
        throw EngineError(std::string("CUDA failed (") + error.what() + "): " + remedy(error.code));
    }
}

cudaStream_t to_stream(std::uintptr_t handle) { return reinterpret_cast<cudaStream_t>(handle); }
std::uintptr_t to_handle(cudaStream_t stream) { return reinterpret_cast<std::uintptr_t>(stream); }

/// A shape that is ready to run, and its graph.
struct ReadyShape {
    DeviceBuffer memory, labels;
    ShapeBuffers buffers;
    UniqueGraphExec graph;
    int num_captures = 0;  // that were tried
    // Threads that have run it by plain launches. What libraries make for a thread at its first run
    // (cuDNN and cuBLAS their handles) cannot be made while capturing.
    std::vector<std::thread::id> warm_threads;

    std::size_t num_bytes() const { return memory.size() + labels.size(); }
};

class CudaPipeline final : public Pipeline {
public:
    CudaPipeline(const PipelineConfig& config, Network network)
        : config_(config), network_(std::move(network)) {}
    ~CudaPipeline() override;

    Ticket submit(std::span<const FrameImage> images, Size padded,
                  const FrameOptions& options) override;
    const FrameResult& collect(const Ticket& ticket) override;
    std::uintptr_t import_stream() const override { return to_handle(import_.get()); }
    PipelineUsage usage() const override;

private:
    ReadyShape& ready_shape(const Shape& shape, int capacity);
    ReadyShape make_shape(const Shape& shape, int capacity);
    void drop_last_shape();
    void capture(ReadyShape& ready);

    void upload(FrameSlot& slot, std::span<const FrameImage> images, const Frame& frame);
    void compute(FrameSlot& slot, ReadyShape& ready);
    void download(FrameSlot& slot, ReadyShape& ready, const Frame& frame);
    void enqueue_shape(const ShapeBuffers& buffers);
    DeviceMaps maps_of(const ShapeBuffers& buffers) const;
    std::size_t bytes_per_value() const { return config_.output_is_half ? 2 : 4; }
    void finish(FrameSlot& slot);
    void abandon(FrameSlot& slot) noexcept;

    PipelineConfig config_;
    Network network_;
    mutable std::mutex mutex_;
    bool has_warned_ = false;
    UniqueStream upload_ = make_stream(), compute_ = make_stream(), import_ = make_stream();
    std::array<FrameSlot, 2> slots_;
    std::size_t num_frames_ = 0;
    std::list<ReadyShape> shapes_;  // the one used last comes first
};

CudaPipeline::~CudaPipeline() {
    try {
        on_device(config_.device, [&] {
            for (FrameSlot& slot : slots_) finish(slot);
            while (!shapes_.empty()) drop_last_shape();
        });
    } catch (const std::exception&) {  // the device is lost: nothing is left to wait for
        shapes_.clear();
    }
}

// ---- shapes -----------------------------------------------------------------------------------

void CudaPipeline::drop_last_shape() {
    const Shape shape = shapes_.back().buffers.shape;
    cudaStreamSynchronize(compute_.get());  // frames on their way use it; errors come up later
    shapes_.pop_back();
    for (const ReadyShape& other : shapes_) {
        if (other.buffers.shape == shape) return;
    }
    network_.release(shape);
}

ReadyShape CudaPipeline::make_shape(const Shape& shape, int capacity) {
    Cutter count(nullptr);
    const ShapeBuffers sizes(count, config_, shape, capacity);
    std::size_t num_bytes = count.size();
    for (const ReadyShape& other : shapes_) num_bytes += other.num_bytes();
    while (!shapes_.empty() && (shapes_.size() >= static_cast<std::size_t>(config_.max_shapes) ||
                                num_bytes > config_.max_bytes)) {
        num_bytes -= shapes_.back().num_bytes();
        drop_last_shape();
    }
    DeviceBuffer memory;
    memory.reserve(count.size());
    Cutter at(memory.data());
    const ShapeBuffers buffers(at, config_, shape, capacity);
    network_.prepare(shape);
    cuda_check(cudaMemsetAsync(buffers.workspace, 0, buffers.workspace_bytes(), compute_.get()));
    return {std::move(memory), {}, buffers, nullptr, 0, {}};
}

// The shape with its buffers, made the first one of the list.
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
        while (!shapes_.empty()) drop_last_shape();  // they can be made again
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
    network_.enqueue(buffers.input, buffers.output, buffers.shape, to_handle(compute_.get()));
    find_boxes(maps_of(buffers), buffers.header.image_sizes, buffers.header.params,
               buffers.workspace, {buffers.found.counts, buffers.found.boxes, buffers.capacity},
               compute_.get());
}

// Makes the graph; where that fails for good, the shape goes on without, and the log says so once.
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
    network_.warn("work on the GPU could not be captured in a graph (" + problem +
                  "); it goes on with plain launches, which take some more CPU time");
}

void CudaPipeline::compute(FrameSlot& slot, ReadyShape& ready) {
    cuda_check(cudaStreamWaitEvent(compute_.get(), slot.uploaded.get()));
    // Within the device: the copy engine may be busy with the pixels of the next frame.
    cuda_check(cudaMemcpyAsync(ready.buffers.header.params, slot.upload.data(),
                               FrameHeader::num_bytes(ready.buffers.shape.batch), cudaMemcpyDefault,
                               compute_.get()));
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

// ---- frames -----------------------------------------------------------------------------------

void CudaPipeline::upload(FrameSlot& slot, std::span<const FrameImage> images, const Frame& frame) {
    const std::size_t num_bytes = frame_bytes(images);
    slot.staging.reserve(num_bytes);
    slot.upload.reserve(num_bytes);
    write_frame(images, frame.options.params, slot.staging.data(), slot.upload.data());
    cuda_check(cudaMemcpyAsync(slot.upload.data(), slot.staging.data(), num_bytes,
                               cudaMemcpyDefault, upload_.get()));
    cuda_check(cudaEventRecord(slot.uploaded.get(), upload_.get()));
    for (const std::uintptr_t caller : frame.options.streams) {
        cuda_check(cudaEventRecord(slot.caller.get(), to_stream(caller)));
        cuda_check(cudaStreamWaitEvent(compute_.get(), slot.caller.get()));
    }
}

void CudaPipeline::download(FrameSlot& slot, ReadyShape& ready, const Frame& frame) {
    const ShapeBuffers& buffers = ready.buffers;
    const auto& [batch, height, width] = buffers.shape;
    const std::size_t found_bytes = FrameBoxes::num_bytes(batch, buffers.capacity);
    const std::size_t map_bytes =
        frame.options.wants_maps ? buffers.num_pixels() * bytes_per_value() : 0;
    const std::size_t label_bytes =
        frame.options.wants_labels ? buffers.num_pixels() * sizeof(std::uint32_t) : 0;
    slot.results.reserve(found_bytes + map_bytes + label_bytes + 512);
    Cutter at(slot.results.data());
    const auto copy = [&](const void* from, std::size_t num_bytes) {
        cuda_check(cudaMemcpyAsync(at.cut<std::byte>(num_bytes), from, num_bytes, cudaMemcpyDefault,
                                   compute_.get()));
    };
    copy(buffers.found.counts, found_bytes);
    if (map_bytes > 0) copy(buffers.output, map_bytes);
    if (label_bytes > 0) {
        ready.labels.reserve(label_bytes);
        auto* labels = reinterpret_cast<std::uint32_t*>(ready.labels.data());
        write_box_labels(maps_of(buffers), buffers.workspace, labels, compute_.get());
        copy(labels, label_bytes);
    }
    cuda_check(cudaEventRecord(slot.done.get(), compute_.get()));
    for (const std::uintptr_t caller : frame.options.streams) {
        cuda_check(cudaStreamWaitEvent(to_stream(caller), slot.done.get()));
    }
}

// Waits for the frame in a slot, keeps its result for the ticket, and frees the slot.
void CudaPipeline::finish(FrameSlot& slot) {
    if (!slot.frame) return;
    Frame& frame = *slot.frame;
    try {
        cuda_check(cudaEventSynchronize(slot.done.get()));
        frame.result = read_frame(frame, bytes_per_value(), slot.results.data());
    } catch (const CudaError& error) {
        frame.error = std::make_exception_ptr(error);
    }
    frame.slot = nullptr;
    slot.frame.reset();
}

// After an error: nothing runs any more that reads the slot, and the shape starts afresh.
void CudaPipeline::abandon(FrameSlot& slot) noexcept {
    cudaStreamSynchronize(upload_.get());
    cudaStreamSynchronize(compute_.get());
    cudaGetLastError();
    slot.frame.reset();
}

Ticket CudaPipeline::submit(std::span<const FrameImage> images, Size padded,
                            const FrameOptions& options) {
    const std::lock_guard lock(mutex_);
    return on_device(config_.device, [&] {
        const Shape shape{static_cast<int>(images.size()), padded.height, padded.width};
        const auto wanted = static_cast<unsigned>(std::max(1, options.params.max_candidates));
        const int capacity =
            std::clamp(static_cast<int>(std::bit_ceil(std::min<unsigned>(wanted, kMaxCandidates))),
                       kMinCapacity, kMaxCandidates);
        FrameSlot& slot = slots_[num_frames_++ % slots_.size()];
        finish(slot);
        auto frame = std::make_shared<Frame>(Frame{this, options, shape, capacity, &slot, {}, {}});
        ReadyShape& ready = ready_shape(shape, capacity);
        try {
            upload(slot, images, *frame);
            compute(slot, ready);
            download(slot, ready, *frame);
        } catch (...) {
            abandon(slot);
            shapes_.splice(shapes_.end(), shapes_, shapes_.begin());
            drop_last_shape();  // its workspace may be left half done
            throw;
        }
        slot.frame = frame;
        return Ticket{frame};
    });
}

const FrameResult& CudaPipeline::collect(const Ticket& ticket) {
    Frame& frame = *ticket.frame;
    if (frame.owner != this) throw std::invalid_argument("the ticket is of another detector");
    return on_device(config_.device, [&]() -> const FrameResult& {
        std::unique_lock lock(mutex_);
        if (FrameSlot* const slot = frame.slot) {
            lock.unlock();  // others may submit; should they need the slot, they finish the frame
            cudaEventSynchronize(slot->done.get());  // finish reports what goes wrong
            lock.lock();
        }
        if (frame.slot != nullptr) finish(*frame.slot);
        if (frame.error) std::rethrow_exception(frame.error);
        return frame.result;
    });
}

PipelineUsage CudaPipeline::usage() const {
    const std::lock_guard lock(mutex_);
    PipelineUsage usage{0, 0, static_cast<int>(shapes_.size()), 0};
    for (const ReadyShape& ready : shapes_) {
        usage.device_bytes += ready.num_bytes();
        usage.num_graphs += ready.graph != nullptr;
    }
    for (const FrameSlot& slot : slots_) {
        usage.device_bytes += slot.upload.size();
        usage.pinned_bytes += slot.staging.size() + slot.results.size();
    }
    return usage;
}

}  // namespace

bool cuda_available() noexcept {
    int num_devices = 0;
    const cudaError_t status = cudaGetDeviceCount(&num_devices);
    cudaGetLastError();  // "no driver" and "no device" are answers here, not errors to keep
    return status == cudaSuccess && num_devices > 0;
}

std::unique_ptr<Pipeline> make_pipeline(const PipelineConfig& config, Network network) {
    return on_device(config.device, [&]() -> std::unique_ptr<Pipeline> {
        return std::make_unique<CudaPipeline>(config, std::move(network));
    });
}

}  // namespace dbnet
