// SPDX-License-Identifier: Apache-2.0
//
// Runs CUDA kernels on the host, to test them where there is no GPU. Every CUDA thread is a fiber;
// blocks run interleaved, in an order that a seed draws. Shared memory starts poisoned, and a
// checker reports accesses that no barrier or warp collective orders. Threads that wait for each
// other in vain, wait at different barriers, or read outside a shared array, are errors.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
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
constexpr std::size_t kCellBytes = 2;  // the race checker's grain: kernels share nothing smaller

/// How kernels are run.
struct Options {
    std::uint64_t seed = 0;   // 0: threads run in order; otherwise a random, repeatable schedule
    int resident_blocks = 1;  // blocks that run interleaved
    int yield_one_in = 0;     // atomics and relaxed reads let others run, once in so many; 0: never
    bool check_races = false;
};

struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

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

enum class State { kReady, kAtBarrier, kInCollective, kDone };

struct Block;

struct Thread {
    dim3 index;
    unsigned linear = 0;
    Block* block = nullptr;
    State state = State::kReady;
    std::uint64_t result = 0;      // of the barrier or collective it waited for
    unsigned num_collectives = 0;  // orders its accesses against those of its warp
    Fiber fiber;

    unsigned lane() const { return linear % kWarpSize; }
    unsigned warp() const { return linear / kWarpSize; }
};

/// What a warp collective does with the values of its lanes.
using Combine =
    std::function<std::uint64_t(const std::uint64_t* values, unsigned mask, unsigned lane)>;

/// A warp collective that some lanes of its mask have reached.
struct Collective {
    unsigned mask = 0, arrived = 0;
    std::string name;
    std::uint64_t values[kWarpSize] = {};
    Combine combine[kWarpSize];
};

/// Who touched a cell of shared memory last, since the last barrier.
struct Cell {
    unsigned barrier = 0;
    int writer = -1, reader = -1;
    unsigned writer_collectives = 0, reader_collectives = 0;
    bool written_atomically = false, has_readers_of_two_warps = false;
};

struct Block {
    dim3 index;
    std::vector<Thread> threads;
    std::vector<unsigned> ready;
    unsigned num_alive = 0, num_at_barrier = 0, num_barriers = 1;
    std::uint64_t barrier_sum = 0;
    const void* barrier_site = nullptr;
    std::vector<std::vector<Collective>> collectives;  // by warp
    std::vector<unsigned char> shared;
    std::vector<std::pair<const void*, std::size_t>> arrays;  // key and offset of shared arrays
    std::size_t shared_used = 0;
    std::vector<Cell> cells;
};

/// The machine: one launch at a time.
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

inline void switch_to_scheduler() { machine.current->fiber.leave(machine.scheduler); }

inline void make_ready(Thread& thread) {
    thread.state = State::kReady;
    thread.block->ready.push_back(thread.linear);
}

inline void yield() {
    make_ready(*machine.current);
    switch_to_scheduler();
}

inline void maybe_yield() {
    const int one_in = machine.options.yield_one_in;
    if (one_in > 0 && machine.random.below(static_cast<unsigned>(one_in)) == 0) yield();
}

// ---- barriers and warp collectives -------------------------------------------------------------

inline void release_barrier_if_all_wait(Block& block) {
    if (block.num_alive == 0 || block.num_at_barrier != block.num_alive) return;
    for (Thread& thread : block.threads) {
        if (thread.state != State::kAtBarrier) continue;
        thread.result = block.barrier_sum;
        make_ready(thread);
    }
    block.num_at_barrier = 0;
    block.barrier_sum = 0;
    block.barrier_site = nullptr;
    ++block.num_barriers;
}

/// __syncthreads; returns the sum of what the threads gave.
inline std::uint64_t barrier(std::uint64_t value, const void* site) {
    Thread& me = *machine.current;
    Block& block = *me.block;
    if (block.num_at_barrier > 0 && block.barrier_site != site) {
        throw Error("threads of a block wait at different barriers");
    }
    block.barrier_site = site;
    block.barrier_sum += value;
    ++block.num_at_barrier;
    me.state = State::kAtBarrier;
    release_barrier_if_all_wait(block);
    switch_to_scheduler();
    return me.result;
}

inline Collective& find_collective(std::vector<Collective>& pending, const char* name,
                                   unsigned mask, unsigned lane) {
    for (Collective& each : pending) {
        if (each.mask == mask && each.name == name && !(each.arrived >> lane & 1)) return each;
    }
    pending.emplace_back();
    pending.back().mask = mask;
    pending.back().name = name;
    return pending.back();
}

/// Waits for all lanes of the mask, then gives each what `combine` makes of their values.
inline std::uint64_t collective(const char* name, unsigned mask, std::uint64_t value,
                                Combine combine) {
    Thread& me = *machine.current;
    Block& block = *me.block;
    if (!(mask >> me.lane() & 1))
        throw Error(std::string(name) + ": the caller is not in the mask");
    auto& pending = block.collectives[me.warp()];
    Collective& mine = find_collective(pending, name, mask, me.lane());
    mine.arrived |= 1u << me.lane();
    mine.values[me.lane()] = value;
    mine.combine[me.lane()] = std::move(combine);
    ++me.num_collectives;
    if (mine.arrived != mask) {
        me.state = State::kInCollective;
        switch_to_scheduler();
        return me.result;
    }
    for (unsigned lane = 0; lane < kWarpSize; ++lane) {
        if (!(mask >> lane & 1)) continue;
        Thread& other = block.threads[me.warp() * kWarpSize + lane];
        other.result = mine.combine[lane](mine.values, mask, lane);
        if (&other != &me) make_ready(other);
    }
    pending.erase(pending.begin() + (&mine - pending.data()));
    const std::uint64_t result = me.result;
    if (machine.options.seed != 0 && machine.random.below(2) == 0) yield();
    return result;
}

template <class T>
std::uint64_t pack(T value) {
    static_assert(sizeof(T) <= sizeof(std::uint64_t));
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
}

template <class T>
T unpack(std::uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

/// __shfl_*: each lane reads the lane that `source` tells for it.
template <class T, class Source>
T shuffle(const char* name, unsigned mask, T value, Source source) {
    return unpack<T>(
        collective(name, mask, pack(value), [=](auto* values, unsigned m, unsigned lane) {
            const unsigned from = source(lane);
            if (!(m >> from & 1))
                throw Error(std::string(name) + ": reads a lane outside the mask");
            return values[from];
        }));
}

// ---- shared memory -----------------------------------------------------------------------------

enum class Access { kRead, kWrite, kRelaxedRead, kRelaxedWrite, kAtomic };

inline void report_race(const char* what, const void* address, int other) {
    ++machine.num_races;
    if (!machine.first_race.empty()) return;
    const Block& block = *machine.current->block;
    const auto offset = static_cast<const unsigned char*>(address) - block.shared.data();
    machine.first_race = std::string(what) + " at byte " + std::to_string(offset) +
                         " of shared memory, by threads " + std::to_string(other) + " and " +
                         std::to_string(machine.current->linear) + ", after barrier " +
                         std::to_string(block.num_barriers - 1);
}

inline void check_cell(Cell& cell, Access access, const void* address) {
    const Thread& me = *machine.current;
    const int self = static_cast<int>(me.linear);
    const bool writes = access != Access::kRead && access != Access::kRelaxedRead;
    const bool atomic = access != Access::kRead && access != Access::kWrite;  // may meet its like
    const auto ordered = [&](int other, unsigned collectives) {
        return other == self ||
               (other / static_cast<int>(kWarpSize) == static_cast<int>(me.warp()) &&
                me.num_collectives > collectives);
    };
    if (cell.barrier != me.block->num_barriers) cell = {.barrier = me.block->num_barriers};
    if (cell.writer >= 0 && !(atomic && cell.written_atomically) &&
        !ordered(cell.writer, cell.writer_collectives)) {
        report_race(writes ? "write after write" : "read after write", address, cell.writer);
    }
    if (writes && cell.reader >= 0 &&
        (cell.has_readers_of_two_warps || !ordered(cell.reader, cell.reader_collectives))) {
        report_race("write after read", address, cell.reader);
    }
    if (writes) {
        cell.writer = self;
        cell.writer_collectives = me.num_collectives;
        cell.written_atomically = atomic;
    } else if (access == Access::kRead) {
        cell.has_readers_of_two_warps |=
            cell.reader >= 0 &&
            cell.reader / static_cast<int>(kWarpSize) != static_cast<int>(me.warp());
        cell.reader = self;
        cell.reader_collectives = me.num_collectives;
    }
}

inline void check_access(const void* address, std::size_t size, Access access) {
    if (!machine.options.check_races) return;
    Block& block = *machine.current->block;
    const auto offset = static_cast<const unsigned char*>(address) - block.shared.data();
    if (offset < 0 || offset >= static_cast<std::ptrdiff_t>(block.shared.size())) return;
    const std::size_t first = static_cast<std::size_t>(offset) / kCellBytes;
    const std::size_t last = (static_cast<std::size_t>(offset) + size - 1) / kCellBytes;
    for (std::size_t i = first; i <= last; ++i) check_cell(block.cells[i], access, address);
}

/// One element of a shared array.
template <class T>
struct SharedRef {
    T* address;

    operator T() const {
        check_access(address, sizeof(T), Access::kRead);
        return *address;
    }
    const SharedRef& operator=(T value) const {
        check_access(address, sizeof(T), Access::kWrite);
        *address = value;
        return *this;
    }
    const SharedRef& operator=(const SharedRef& other) const {
        return *this = static_cast<T>(other);
    }
    T* operator&() const { return address; }
};

template <class T>
struct SharedArray {
    T* data;
    std::size_t size;

    template <class Index>
    SharedRef<T> operator[](Index i) const {
        if (static_cast<std::size_t>(i) >= size) throw Error("index outside of a shared array");
        return {data + i};
    }
};

/// The block's array of that key, made when its first thread asks.
template <class T>
SharedArray<T> shared_array(const void* key, std::size_t size) {
    Block& block = *machine.current->block;
    for (const auto& [known, offset] : block.arrays) {
        if (known == key) return {reinterpret_cast<T*>(block.shared.data() + offset), size};
    }
    const std::size_t offset = (block.shared_used + 15) / 16 * 16;
    block.shared_used = offset + size * sizeof(T);
    if (block.shared_used > kSharedBytes) throw Error("more than 48 KiB of static shared memory");
    block.arrays.emplace_back(key, offset);
    return {reinterpret_cast<T*>(block.shared.data() + offset), size};
}

// ---- launches ----------------------------------------------------------------------------------

inline void run_thread() {
    Thread& me = *machine.current;
    try {
        (*machine.kernel)();
    } catch (...) {
        if (!machine.error) machine.error = std::current_exception();
    }
    me.state = State::kDone;
    --me.block->num_alive;
    if (!machine.error) release_barrier_if_all_wait(*me.block);
    switch_to_scheduler();
}

inline void start_block(Block& block, std::uint64_t number) {
    const dim3 grid = machine.grid, size = machine.block;
    const unsigned num_threads = size.x * size.y * size.z;
    block.index = dim3(static_cast<unsigned>(number % grid.x),
                       static_cast<unsigned>(number / grid.x % grid.y),
                       static_cast<unsigned>(number / grid.x / grid.y));
    block.num_alive = num_threads;
    block.num_at_barrier = 0;
    block.num_barriers = 1;
    block.barrier_sum = 0;
    block.collectives.assign((num_threads + kWarpSize - 1) / kWarpSize, {});
    block.arrays.clear();
    block.shared_used = 0;
    block.shared.resize(kSharedBytes);
    for (auto& byte : block.shared) byte = static_cast<unsigned char>(machine.random.below(256));
    if (machine.options.check_races) block.cells.assign(kSharedBytes / kCellBytes, Cell{});
    block.threads.resize(num_threads);
    block.ready.clear();
    for (unsigned i = num_threads; i-- > 0;) {
        Thread& thread = block.threads[i];
        thread.linear = i;
        thread.index = dim3(i % size.x, i / size.x % size.y, i / size.x / size.y);
        thread.block = &block;
        thread.num_collectives = 0;
        thread.fiber.prepare(&run_thread);
        make_ready(thread);
    }
}

// Runs some of a block's ready threads until each waits, yields or ends.
inline void run_burst(Block& block) {
    if (block.ready.empty()) {
        throw Error("deadlock: threads wait for a barrier or collective that others never reach");
    }
    const bool random = machine.options.seed != 0;
    for (unsigned left = random ? 1 + machine.random.below(64) : ~0u; left > 0; --left) {
        if (block.ready.empty()) return;
        const auto count = static_cast<unsigned>(block.ready.size());
        std::swap(block.ready[random ? machine.random.below(count) : count - 1],
                  block.ready.back());
        machine.current = &block.threads[block.ready.back()];
        block.ready.pop_back();
        machine.current->fiber.enter(machine.scheduler);
        if (machine.error) std::rethrow_exception(std::exchange(machine.error, nullptr));
    }
}

/// kernel<<<grid, block>>>(): returns when all threads have ended.
inline void launch(dim3 grid, dim3 block, const std::function<void()>& kernel) {
    static std::uint64_t num_launches = 0;
    const unsigned num_threads = block.x * block.y * block.z;
    if (num_threads == 0 || num_threads > 1024) throw Error("a block has 1 to 1024 threads");
    const std::uint64_t num_blocks = std::uint64_t{grid.x} * grid.y * grid.z;
    if (num_blocks == 0) throw Error("a grid has at least one block");
    machine.grid = grid;
    machine.block = block;
    machine.kernel = &kernel;
    machine.error = nullptr;
    machine.random = Random(machine.options.seed + 7919 * ++num_launches);
    std::vector<std::uint64_t> order(num_blocks);
    for (std::uint64_t i = 0; i < num_blocks; ++i) order[i] = i;
    if (machine.options.seed != 0) {
        for (std::uint64_t i = num_blocks; i > 1; --i) {
            std::swap(order[i - 1], order[machine.random.below(static_cast<unsigned>(i))]);
        }
    }
    static std::vector<std::unique_ptr<Block>> pool;
    const auto resident = static_cast<std::size_t>(std::max(1, machine.options.resident_blocks));
    while (pool.size() < resident) pool.push_back(std::make_unique<Block>());
    std::vector<Block*> live;
    std::size_t next = 0;
    for (std::size_t i = 0; i < resident && next < num_blocks; ++i) {
        start_block(*pool[i], order[next++]);
        live.push_back(pool[i].get());
    }
    while (!live.empty()) {
        const auto count = static_cast<unsigned>(live.size());
        const unsigned chosen = machine.options.seed != 0 ? machine.random.below(count) : 0;
        Block& running = *live[chosen];
        if (running.num_alive > 0) {
            run_burst(running);
        } else if (next < num_blocks) {
            start_block(running, order[next++]);
        } else {
            live.erase(live.begin() + chosen);
        }
    }
    machine.current = nullptr;
}

}  // namespace emulator
