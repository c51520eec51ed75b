// SPDX-License-Identifier: Apache-2.0
//
// Barriers of a block and collectives of a warp.
#pragma once

#include <cstring>

#include "tests/emulator/machine.hpp"

namespace emulator {

/// Make the threads at a barrier ready if all live threads of the block have reached it.
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

/// __syncthreads. Returns the sum of the threads' values. `site` identifies the call.
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

/// The pending collective that a lane joins, or a new one.
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

/// Wait for all lanes of the mask. Returns what this lane's `combine` computes from their values.
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

/// The bytes of a value as a number.
template <class T>
std::uint64_t pack(T value) {
    static_assert(sizeof(T) <= sizeof(std::uint64_t));
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
}

/// A value from the number of `pack`.
template <class T>
T unpack(std::uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

/// __shfl_*: each lane reads the value of lane `source(lane)`.
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

}  // namespace emulator
