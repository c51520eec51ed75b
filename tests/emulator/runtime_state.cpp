// SPDX-License-Identifier: Apache-2.0
#include "tests/emulator/runtime_state.hpp"

namespace emulator {

Runtime runtime;
FakeStream default_stream;
thread_local std::vector<int> current_devices{0};

FakeStream& stream_of(cudaStream_t stream) {
    return reinterpret_cast<std::uintptr_t>(stream) <= 2 ? default_stream : *stream;
}

cudaError_t fail(cudaError_t code) {
    if (code >= cudaErrorIllegalAddress && code <= cudaErrorLaunchFailure) runtime.lost = code;
    return runtime.last = code;
}

cudaError_t begin_call(const char* name) {
    if (runtime.lost != cudaSuccess) return fail(runtime.lost);
    const auto found = runtime.failures.find(name);
    if (found == runtime.failures.end() || found->second.first-- > 0) return cudaSuccess;
    const cudaError_t code = found->second.second;
    runtime.failures.erase(found);
    return fail(code);
}

void run_front(FakeStream& stream) {
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

bool run_any() {
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

void add(FakeStream& stream, Operation operation) {
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

bool break_capture() {
    bool broken = false;
    for (FakeStream* stream : runtime.streams) {
        if (stream->capture == nullptr) continue;
        stream->capture_is_broken = broken = true;
    }
    return broken;
}

}  // namespace emulator

using namespace emulator;

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
