// SPDX-License-Identifier: Apache-2.0
//
// Races on global memory, found by happens-before. A barrier orders the threads of its block.
// Across blocks only this does: fence and atomic on one side, atomic on the same place and fence on
// the other. The end of a launch orders everything.
#pragma once

#include <map>
#include <unordered_map>

#include "tests/emulator/shared_memory.hpp"

namespace emulator {

/// How far a block is known to have come: before barrier `interval` as a whole, and `thread` before
/// its fence number `fences`.
struct Progress {
    unsigned interval = 0, thread = 0, fences = 0;
};

/// What is known to have happened, by block.
using Knowledge = std::map<unsigned, Progress>;

inline void join(Knowledge& known, const Knowledge& other) {
    for (const auto& [block, progress] : other) {
        Progress& mine = known[block];
        if (progress.interval >= mine.interval) mine = progress;
    }
}

constexpr unsigned kSeveral = ~0u;  // in place of a thread

/// An access, and when its thread made it.
struct GlobalAccess {
    unsigned block, interval, thread, collectives, fences;
    bool relaxed;
};

/// Accesses to a cell of global memory in this launch: the last write, and the last reads of each
/// block since, plain or relaxed.
struct GlobalCell {
    bool is_written = false;
    GlobalAccess writer{};
    std::map<std::pair<unsigned, bool>, GlobalAccess> readers;
};

/// What fences and atomics have told a thread. `released`: what it hands on by its next atomic;
/// `pending`: what atomics have read, and its next fence makes known.
struct ThreadOrder {
    unsigned fences = 0;
    Knowledge known, released, pending;
};

/// Order of the accesses to global memory in a launch.
struct GlobalOrder {
    std::unordered_map<std::uintptr_t, GlobalCell> cells;
    std::map<std::pair<unsigned, unsigned>, ThreadOrder> threads;  // by block and thread
    std::map<unsigned, std::map<unsigned, Knowledge>> blocks;      // by block and interval
    std::unordered_map<std::uintptr_t, Knowledge> released;        // by address of an atomic
};
inline GlobalOrder global_order;

/// Number of the current block in its grid.
inline unsigned block_number() {
    const dim3 index = machine.current->block->index, grid = machine.grid;
    return index.x + grid.x * (index.y + grid.y * index.z);
}

inline ThreadOrder& order_of_thread() {
    return global_order.threads[{block_number(), machine.current->linear}];
}

/// Whether an access of another block happened before what the current thread does now.
inline bool is_known(const GlobalAccess& access) {
    const auto holds = [&](const Knowledge& known) {
        const auto found = known.find(access.block);
        if (found == known.end()) return false;
        const Progress& progress = found->second;
        return access.interval < progress.interval ||
               (access.thread == progress.thread && access.fences < progress.fences);
    };
    if (holds(order_of_thread().known)) return true;
    for (const auto& [interval, known] : global_order.blocks[block_number()]) {
        if (interval < machine.current->block->num_barriers && holds(known)) return true;
    }
    return false;
}

inline bool is_ordered(const GlobalAccess& access) {
    const Thread& me = *machine.current;
    if (access.block != block_number()) return is_known(access);
    return access.thread == me.linear || access.interval < me.block->num_barriers ||
           (access.thread / kWarpSize == me.warp() && access.collectives < me.num_collectives);
}

inline void report_global_race(const char* what, const GlobalAccess& other) {
    ++machine.num_races;
    if (!machine.first_race.empty()) return;
    machine.first_race = std::string(what) + " of global memory, by thread " +
                         std::to_string(other.thread) + " of block " + std::to_string(other.block) +
                         " and thread " + std::to_string(machine.current->linear) + " of block " +
                         std::to_string(block_number());
}

/// Check an access to global memory, if the race checker is on.
inline void check_global_access(const void* address, std::size_t size, Access access) {
    if (!machine.options.check_races) return;
    const Thread& me = *machine.current;
    const bool writes = access != Access::kRead && access != Access::kRelaxedRead;
    const bool relaxed = access != Access::kRead && access != Access::kWrite;
    const GlobalAccess mine{block_number(),     me.block->num_barriers,   me.linear,
                            me.num_collectives, order_of_thread().fences, relaxed};
    const auto races_with = [&](const GlobalAccess& other) {
        return !(relaxed && other.relaxed) && !is_ordered(other);
    };
    const auto first = reinterpret_cast<std::uintptr_t>(address) / kCellBytes;
    const auto last = (reinterpret_cast<std::uintptr_t>(address) + size - 1) / kCellBytes;
    for (std::uintptr_t i = first; i <= last; ++i) {
        GlobalCell& cell = global_order.cells[i];
        if (cell.is_written && races_with(cell.writer)) {
            report_global_race(writes ? "write after write" : "read after write", cell.writer);
        }
        if (!writes) {
            const auto [place, is_new] = cell.readers.try_emplace({mine.block, relaxed}, mine);
            const bool joins = !is_new && place->second.interval == mine.interval &&
                               place->second.thread != mine.thread;
            place->second = mine;
            if (joins) place->second.thread = kSeveral;
            continue;
        }
        for (const auto& [key, reader] : cell.readers) {
            if (races_with(reader)) report_global_race("write after read", reader);
        }
        cell.readers.clear();
        cell.is_written = true;
        cell.writer = mine;
    }
}

/// A fence: what the thread did before it is handed on by atomics after it, and what atomics before
/// it read is known after it.
inline void order_fence() {
    if (!machine.options.check_races) return;
    ThreadOrder& mine = order_of_thread();
    const Thread& me = *machine.current;
    join(mine.known, mine.pending);
    mine.released = mine.known;
    mine.released[block_number()] = {me.block->num_barriers, me.linear, ++mine.fences};
}

/// An atomic on global memory.
inline void order_atomic(const void* address) {
    if (!machine.options.check_races) return;
    ThreadOrder& mine = order_of_thread();
    Knowledge& released = global_order.released[reinterpret_cast<std::uintptr_t>(address)];
    join(mine.pending, released);
    join(released, mine.released);
}

/// A barrier that the current thread has reached: afterwards its block knows what it knows.
inline void order_barrier() {
    if (!machine.options.check_races) return;
    const Knowledge& known = order_of_thread().known;
    if (known.empty()) return;
    join(global_order.blocks[block_number()][machine.current->block->num_barriers], known);
}

}  // namespace emulator
