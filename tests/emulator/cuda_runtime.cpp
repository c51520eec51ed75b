// SPDX-License-Identifier: Apache-2.0
#include "tests/emulator/cuda_runtime.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace emulator {

using Work = std::function<void()>;

/// Number of times that an event was recorded by the host, and reached by a stream.
struct EventState {
    std::uint64_t recorded = 0, reached = 0;
};

struct FakeEvent {
    std::shared_ptr<EventState> state = std::make_shared<EventState>();
};

struct FakeGraph {
    std::vector<Work> nodes;
};

/// An entry of a stream: work, or a wait for an event.
struct Operation {
    Work work;
    std::shared_ptr<EventState> event;
    std::uint64_t target = 0;

    bool can_run() const { return !event || event->reached >= target; }
};

struct FakeStream {
    std::deque<Operation> operations;
    FakeGraph* capture = nullptr;
    bool capture_is_broken = false;
};

/// State of the fake runtime, which has two devices.
struct Runtime {
    std::recursive_mutex mutex;
    std::set<FakeStream*> streams;
    std::map<void*, std::size_t> device_memory, pinned_memory;
    std::array<bool, 2> has_context{};  // of the devices
    std::size_t num_events = 0, num_graphs = 0, num_graph_launches = 0, limit = ~std::size_t{0};
    cudaError_t last = cudaSuccess, lost = cudaSuccess;
    std::string what;  // message of an exception in a kernel
    std::map<std::string, std::pair<int, cudaError_t>> failures;  // calls until then, error
    std::mt19937 random{1};
    int run_one_in = 0;  // 0: work runs only when a call synchronises
};
static Runtime runtime;
static FakeStream default_stream;
static thread_local std::vector<int> current_devices{0};  // the last is current

using Lock = std::lock_guard<std::recursive_mutex>;
constexpr std::size_t kGuardBytes = 256;

static FakeStream& stream_of(cudaStream_t stream) {
    return reinterpret_cast<std::uintptr_t>(stream) <= 2 ? default_stream : *stream;
}

static cudaError_t fail(cudaError_t code) {
    if (code >= cudaErrorIllegalAddress && code <= cudaErrorLaunchFailure) runtime.lost = code;
    return runtime.last = code;
}

// Returns the error that this call was asked to fail with, if any.
static cudaError_t begin_call(const char* name) {
    if (runtime.lost != cudaSuccess) return fail(runtime.lost);
    const auto found = runtime.failures.find(name);
    if (found == runtime.failures.end() || found->second.first-- > 0) return cudaSuccess;
    const cudaError_t code = found->second.second;
    runtime.failures.erase(found);
    return fail(code);
}

static void run_front(FakeStream& stream) {
    Operation operation = std::move(stream.operations.front());
    stream.operations.pop_front();
    if (operation.work && runtime.lost == cudaSuccess) {
        try {
            operation.work();
        } catch (const std::exception& error) {
            runtime.what = error.what();
            fail(cudaErrorLaunchFailure);
        }
    }
}

// Runs one operation of a random stream. Returns false if none can run.
static bool run_any() {
    std::vector<FakeStream*> able;
    for (FakeStream* stream : runtime.streams) {
        if (!stream->operations.empty() && stream->operations.front().can_run()) {
            able.push_back(stream);
        }
    }
    if (able.empty()) return false;
    run_front(*able[runtime.random() % able.size()]);
    return true;
}

static void maybe_run() {
    while (runtime.run_one_in > 0 && runtime.random() % runtime.run_one_in == 0 && run_any()) {
    }
}

// Runs work until `done`. Without a seed the stream `first` goes first, so that others lag behind.
template <class Done>
static cudaError_t run_until(FakeStream* first, Done done) {
    while (!done()) {
        const bool can = first != nullptr && runtime.run_one_in == 0 &&
                         !first->operations.empty() && first->operations.front().can_run();
        if (can) {
            run_front(*first);
        } else if (!run_any()) {
            runtime.what = "deadlock: streams wait for an event that is never recorded";
            return fail(cudaErrorLaunchFailure);
        }
    }
    return runtime.lost;
}

static void add(FakeStream& stream, Operation operation) {
    if (stream.capture != nullptr) {
        stream.capture->nodes.push_back(std::move(operation.work));
    } else {
        stream.operations.push_back(std::move(operation));
        maybe_run();
    }
}

void enqueue(FakeStream* stream, Work work) {
    if (stream == nullptr) return work();
    const Lock lock(runtime.mutex);
    if (begin_call("launch") == cudaSuccess) add(stream_of(stream), {std::move(work), nullptr, 0});
}

static bool break_capture() {
    bool broken = false;
    for (FakeStream* stream : runtime.streams) {
        if (stream->capture == nullptr) continue;
        stream->capture_is_broken = broken = true;
    }
    return broken;
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

static cudaError_t create_context(int device) {
    const Lock lock(runtime.mutex);
    if (device < 0 || device >= static_cast<int>(runtime.has_context.size())) return fail(101);
    runtime.has_context[device] = true;
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

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    const Lock lock(runtime.mutex);
    if (const cudaError_t code = begin_call("cudaStreamCreateWithFlags")) return code;
    runtime.streams.insert(&default_stream);
    runtime.streams.insert(*stream = new FakeStream);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    const Lock lock(runtime.mutex);
    run_until(stream, [&] { return stream->operations.empty(); });
    runtime.streams.erase(stream);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    const Lock lock(runtime.mutex);
    if (const cudaError_t code = begin_call("cudaStreamSynchronize")) return code;
    FakeStream& which = stream_of(stream);
    if (which.capture != nullptr) {
        which.capture_is_broken = true;
        return fail(cudaErrorStreamCaptureUnsupported);
    }
    return run_until(&which, [&] { return which.operations.empty(); });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    const Lock lock(runtime.mutex);
    if (const cudaError_t code = begin_call("cudaStreamWaitEvent")) return code;
    if (stream_of(stream).capture != nullptr) {  // an event of work that is not captured
        stream->capture_is_broken = true;
        return fail(cudaErrorStreamCaptureUnsupported);
    }
    add(stream_of(stream), {nullptr, event->state, event->state->recorded});
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    const Lock lock(runtime.mutex);
    if (const cudaError_t code = begin_call("cudaStreamBeginCapture")) return code;
    stream->capture = new FakeGraph;
    stream->capture_is_broken = false;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    const Lock lock(runtime.mutex);
    *graph = std::exchange(stream->capture, nullptr);
    const cudaError_t code = begin_call("cudaStreamEndCapture");
    if (*graph == nullptr) return fail(cudaErrorInvalidValue);
    if (code == cudaSuccess && !stream->capture_is_broken) {
        ++runtime.num_graphs;
        return cudaSuccess;
    }
    delete std::exchange(*graph, nullptr);
    return fail(code != cudaSuccess ? code : cudaErrorStreamCaptureInvalidated);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
    const Lock lock(runtime.mutex);
    if (const cudaError_t code = begin_call("cudaEventCreateWithFlags")) return code;
    ++runtime.num_events;
    *event = new FakeEvent;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    const Lock lock(runtime.mutex);
    --runtime.num_events;
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    const Lock lock(runtime.mutex);
    if (const cudaError_t code = begin_call("cudaEventRecord")) return code;
    const auto state = event->state;
    const std::uint64_t number = ++state->recorded;
    add(stream_of(stream),
        {[=] { state->reached = std::max(state->reached, number); }, nullptr, 0});
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    const Lock lock(runtime.mutex);
    if (const cudaError_t code = begin_call("cudaEventSynchronize")) return code;
    const auto state = event->state;
    const std::uint64_t target = state->recorded;
    return run_until(nullptr,
                     [&] { return state->reached >= target || runtime.lost != cudaSuccess; });
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* exec, cudaGraph_t graph,
                                          unsigned long long) {
    const Lock lock(runtime.mutex);
    if (const cudaError_t code = begin_call("cudaGraphInstantiateWithFlags")) return code;
    ++runtime.num_graphs;
    *exec = new FakeGraph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    const Lock lock(runtime.mutex);
    --runtime.num_graphs;
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) { return cudaGraphDestroy(exec); }

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    const Lock lock(runtime.mutex);
    if (const cudaError_t code = begin_call("cudaGraphLaunch")) return code;
    ++runtime.num_graph_launches;
    for (const Work& node : exec->nodes) add(stream_of(stream), {node, nullptr, 0});
    return cudaSuccess;
}

extern "C" {

/// Reset errors and failures. With seed 0 work runs only when a call synchronises, otherwise also
/// at random calls. `limit_bytes`: maximum memory of each kind, 0 for none.
void runtime_configure(unsigned seed, std::size_t limit_bytes) {
    const Lock lock(runtime.mutex);
    runtime.lost = runtime.last = cudaSuccess;
    runtime.what.clear();
    runtime.has_context = {};
    runtime.failures.clear();
    runtime.random.seed(seed + 1);
    runtime.run_one_in = seed == 0 ? 0 : 2;
    runtime.limit = limit_bytes == 0 ? ~std::size_t{0} : limit_bytes;
}

/// Make a call fail once, after `after` calls of that name that succeed. "launch" is the launch of
/// a kernel.
void runtime_fail(const char* name, int code, int after) {
    const Lock lock(runtime.mutex);
    runtime.failures[name] = {after, code};
}

/// cudaMemcpyAsync, for the networks of the tests.
int runtime_copy(void* to, const void* from, std::size_t num_bytes, std::size_t stream) {
    return cudaMemcpyAsync(to, from, num_bytes, cudaMemcpyDefault,
                           reinterpret_cast<cudaStream_t>(stream));
}

/// Make a stream wait for the default stream, as owners of images do.
int runtime_wait(std::size_t stream) {
    cudaEvent_t event = nullptr;
    if (const cudaError_t code = cudaEventCreateWithFlags(&event, 0)) return code;
    cudaError_t code = cudaEventRecord(event, nullptr);
    if (code == cudaSuccess) {
        code = cudaStreamWaitEvent(reinterpret_cast<cudaStream_t>(stream), event);
    }
    cudaEventDestroy(event);
    return code;
}

/// Resources in use: device bytes, pinned bytes, streams, events, graphs; graph launches so far;
/// and contexts, a bit for each device.
void runtime_usage(std::size_t* usage) {
    const Lock lock(runtime.mutex);
    std::fill_n(usage, 7, 0);
    for (const auto& [address, size] : runtime.device_memory) usage[0] += size;
    for (const auto& [address, size] : runtime.pinned_memory) usage[1] += size;
    usage[2] = runtime.streams.size();
    usage[3] = runtime.num_events;
    usage[4] = runtime.num_graphs;
    usage[5] = runtime.num_graph_launches;
    usage[6] = runtime.has_context[0] | runtime.has_context[1] << 1;
}
}
