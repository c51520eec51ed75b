// SPDX-License-Identifier: Apache-2.0
//
// State of the emulated machine: blocks of threads, each a fiber, and the schedule they run in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/emulator/fiber.hpp"

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace emulator {

constexpr std::size_t kSharedBytes = 48 * 1024;  // static shared memory of a block
constexpr unsigned kWarpSize = 32;
constexpr std::size_t kCellBytes = 2;  // of the race checker; kernels share nothing smaller

/// How to run kernels.
struct Options {
    std::uint64_t seed = 0;   // 0: threads run in order; otherwise a random, repeatable schedule
    int resident_blocks = 1;  // blocks that run interleaved
    int yield_one_in = 0;     // one in this many atomics and relaxed accesses yields; 0: none
    bool check_races = false;
};

/// A fault of a kernel or a launch.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// A xorshift generator.
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 0x1234567u) {}
    std::uint32_t below(std::uint32_t limit) {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return static_cast<std::uint32_t>(((state_ >> 32) * limit) >> 32);
    }

private:
    std::uint64_t state_;
};

/// State of a thread.
enum class State { kReady, kAtBarrier, kInCollective, kDone };

struct Block;

/// A CUDA thread.
struct Thread {
    dim3 index;
    unsigned linear = 0;
    Block* block = nullptr;
    State state = State::kReady;
    std::uint64_t result = 0;      // result of the barrier or collective it waited for
    unsigned num_collectives = 0;  // orders its accesses against those of its warp
    Fiber fiber;

    unsigned lane() const { return linear % kWarpSize; }
    unsigned warp() const { return linear / kWarpSize; }
};

/// Computes the result of one lane from the values of all.
using Combine =
    std::function<std::uint64_t(const std::uint64_t* values, unsigned mask, unsigned lane)>;

/// A warp collective that some lanes of its mask have reached.
struct Collective {
    unsigned mask = 0, arrived = 0;
    std::string name;
    std::uint64_t values[kWarpSize] = {};
    Combine combine[kWarpSize];
};

/// Last accesses to a cell of shared memory since the last barrier.
struct Cell {
    unsigned barrier = 0;
    int writer = -1, reader = -1;
    unsigned writer_collectives = 0, reader_collectives = 0;
    bool written_atomically = false, has_readers_of_two_warps = false;
};

/// A block that is running, or will be reused for another.
struct Block {
    dim3 index;
    std::vector<Thread> threads;
    std::vector<unsigned> ready;
    unsigned num_alive = 0, num_at_barrier = 0, num_barriers = 1;
    std::uint64_t barrier_sum = 0;
    const void* barrier_site = nullptr;
    std::vector<std::vector<Collective>> collectives;  // by warp
    std::vector<unsigned char> shared;
    std::vector<std::pair<const void*, std::size_t>> arrays;  // key and offset of each shared array
    std::size_t shared_used = 0;
    std::vector<Cell> cells;
};

/// The machine. It runs one launch at a time.
struct Machine {
    Options options;
    Random random{1};
    Thread* current = nullptr;
    FiberContext scheduler;
    dim3 grid, block;
    const std::function<void()>* kernel = nullptr;
    std::exception_ptr error;
    std::uint64_t num_races = 0;
    std::string first_race;
};
inline Machine machine;

/// Suspend the current thread.
inline void switch_to_scheduler() { machine.current->fiber.leave(machine.scheduler); }

/// Let a thread run again.
inline void make_ready(Thread& thread) {
    thread.state = State::kReady;
    thread.block->ready.push_back(thread.linear);
}

/// Let other threads run.
inline void yield() {
    make_ready(*machine.current);
    switch_to_scheduler();
}

/// Yield at random, as often as the options say.
inline void maybe_yield() {
    const int one_in = machine.options.yield_one_in;
    if (one_in > 0 && machine.random.below(static_cast<unsigned>(one_in)) == 0) yield();
}

}  // namespace emulator
