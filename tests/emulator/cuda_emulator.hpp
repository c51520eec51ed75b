// SPDX-License-Identifier: Apache-2.0
//
// CUDA kernels on the host, to test them without a GPU. Every CUDA thread is a fiber; blocks run
// interleaved, in an order drawn from a seed. Shared memory starts poisoned, and a race checker
// reports accesses that no barrier or warp collective orders. Deadlocks, divergent barriers and
// accesses outside a shared array are errors.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "tests/emulator/collectives.hpp"
#include "tests/emulator/machine.hpp"
#include "tests/emulator/shared_memory.hpp"

namespace emulator {

/// Body of every fiber: run the kernel as the current thread.
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

/// Prepare block `number` of the grid: its threads and its poisoned shared memory.
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

/// Run some of a block's ready threads, each until it waits, yields or ends.
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

/// kernel<<<grid, block>>>(). Returns when all threads have ended.
inline void launch(dim3 grid, dim3 block, const std::function<void()>& kernel) {
    static std::uint64_t num_launches = 0;
    const unsigned num_threads = block.x * block.y * block.z;
    if (num_threads == 0 || num_threads > 1024) throw Error("a block must have 1 to 1024 threads");
    const std::uint64_t num_blocks = std::uint64_t{grid.x} * grid.y * grid.z;
    if (num_blocks == 0) throw Error("a grid must have at least one block");
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
