// SPDX-License-Identifier: Apache-2.0
//
// State of the fake CUDA runtime, and how its streams run.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/emulator/cuda_runtime.hpp"

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
extern Runtime runtime;
extern FakeStream default_stream;
extern thread_local std::vector<int> current_devices;  // the last is current

using Lock = std::lock_guard<std::recursive_mutex>;

/// The stream of a handle; 0, 1 and 2 are the default stream.
FakeStream& stream_of(cudaStream_t stream);

/// Note an error, and return it.
cudaError_t fail(cudaError_t code);

/// Return the error that this call was asked to fail with, if any.
cudaError_t begin_call(const char* name);

/// Run one operation of a random stream. Returns false if none can run.
bool run_any();

/// Run the first operation of a stream, which can run.
void run_front(FakeStream& stream);

/// Add an operation to a stream, or to the graph that it is capturing.
void add(FakeStream& stream, Operation operation);

/// Make captures fail that are going on. Returns whether there are any.
bool break_capture();

/// Create the context of a device.
cudaError_t create_context(int device);

/// Run work until `done`. Without a seed the stream `first` goes first, so that others lag behind.
template <class Done>
cudaError_t run_until(FakeStream* first, Done done) {
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

}  // namespace emulator
