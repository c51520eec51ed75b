// SPDX-License-Identifier: Apache-2.0
//
// The fake runtime's streams, events and graphs.
#include "tests/emulator/runtime_state.hpp"

using namespace emulator;

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
