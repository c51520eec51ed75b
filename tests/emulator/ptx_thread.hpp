// SPDX-License-Identifier: Apache-2.0
//
// Instructions of PTX that touch more than registers: memory, barriers, warps, atomics. Accesses
// are checked for alignment, in shared and local memory for bounds, and in shared and global memory
// for races. An instruction can be weakened, to see whether the tests find it.
#pragma once

#include <array>

#include "tests/emulator/compiled_kernels.hpp"
#include "tests/emulator/cuda_names.hpp"
#include "tests/emulator/global_memory.hpp"
#include "tests/emulator/ptx_opcodes.hpp"

namespace ptx {

/// State spaces of memory. Addresses in shared memory are offsets, all others are of the host.
enum class Space { kGeneric, kGlobal, kShared, kLocal, kParam };

/// How an access is ordered. Volatile ones may race with each other and with atomics.
enum class Order { kPlain, kVolatile };

inline int mutant = -1;         // number of the instruction that is weakened; -1: none
inline char barrier_sites[16];  // a unique address for each barrier of a block

/// The lane that a shuffle reads, and whether it is in bounds: modes up, down, bfly, idx.
struct Source {
    int lane;
    pred inside;
};
template <char kMode>
Source shuffle_source(int lane, u32 b, u32 c) {
    const int by = static_cast<int>(b & 31), clamp = static_cast<int>(c & 31);
    const int segment = static_cast<int>(c >> 8 & 31);
    const int first = lane & segment, last = first | (clamp & ~segment);
    const int from = kMode == 'u'   ? lane - by
                     : kMode == 'd' ? lane + by
                     : kMode == 'b' ? lane ^ by
                                    : first | (by & ~segment);
    const bool inside = kMode == 'u' ? from >= last : from <= last;
    return {inside ? from : lane, inside};
}
template <class T>
struct Shuffled {
    T value;
    pred inside;
};

/// A thread of a translated kernel; lives on the stack of its fiber.
class Thread {
public:
    Thread(const emulator::Parameter* parameters, unsigned char* local, std::size_t local_bytes)
        : parameters_(parameters),
          local_(reinterpret_cast<u64>(local)),
          local_bytes_(local_bytes),
          me_(*emulator::machine.current),
          intervals_(emulator::compiled.blocks[emulator::block_number()]) {
        std::memset(local, 0xA5, local_bytes);
    }
    Thread(const Thread&) = delete;
    Thread& operator=(const Thread&) = delete;
    ~Thread() { end_interval(); }

    /// Count the instructions of a basic block, and its accesses to global memory.
    void count(u64 instructions, u64 global_accesses) {
        counts_.instructions += instructions;
        counts_.global_accesses += global_accesses;
    }

    u64 parameter(int i) const { return reinterpret_cast<u64>(parameters_[i].address); }
    u64 local() const { return local_; }

    /// A generic address of a place in shared memory, and back.
    u64 op_cvta_shared(u64 offset) const { return shared_begin() + offset; }
    u64 op_cvta_to_shared(u64 address) const { return address - shared_begin(); }

    template <Space kSpace, Order kOrder, class T, std::size_t kNum = 1>
    std::array<T, kNum> load(u64 address, int number = -1) const {
        const bool relaxed = kOrder == Order::kVolatile && number != mutant;
        const T* place = at<kSpace, T>(address, kNum);
        if (relaxed) emulator::maybe_yield();
        check<kSpace>(place, sizeof(T) * kNum,
                      relaxed ? emulator::Access::kRelaxedRead : emulator::Access::kRead);
        std::array<T, kNum> values;
        std::memcpy(&values, place, sizeof values);
        return values;
    }
    template <Space kSpace, Order kOrder, class T, std::size_t kNum>
    void store(u64 address, const std::array<T, kNum>& values, int number = -1) const {
        const bool relaxed = kOrder == Order::kVolatile && number != mutant;
        T* place = at<kSpace, T>(address, kNum);
        if (relaxed) emulator::maybe_yield();
        check<kSpace>(place, sizeof(T) * kNum,
                      relaxed ? emulator::Access::kRelaxedWrite : emulator::Access::kWrite);
        std::memcpy(place, &values, sizeof values);
    }

    /// Change a value in memory; returns the old one. Weakened, it is read and written apart.
    template <Space kSpace, class T, class Change>
    T atomic(u64 address, T operand, Change change, int number) const {
        T* place = at<kSpace, T>(address, 1);
        const auto changed = [=](T old) { return change(old, operand); };
        if (number != mutant) return whole_atomic<kSpace>(place, changed);
        const T old = load<kSpace, Order::kPlain, T>(address)[0];
        emulator::maybe_yield();
        store<kSpace, Order::kPlain, T, 1>(address, {changed(old)});
        return old;
    }
    template <Space kSpace, class T>
    T op_atom_add(u64 address, T value, int number) const {
        return atomic<kSpace, T>(address, value, op_add<T>, number);
    }
    template <Space kSpace, class T>
    T op_atom_min(u64 address, T value, int number) const {
        return atomic<kSpace, T>(address, value, op_min<T>, number);
    }
    template <Space kSpace, class T>
    T op_atom_max(u64 address, T value, int number) const {
        return atomic<kSpace, T>(address, value, op_max<T>, number);
    }
    template <Space kSpace, class T>
    T op_atom_or(u64 address, T value, int number) const {
        return atomic<kSpace, T>(address, value, op_or<T>, number);
    }

    void op_bar_sync(u32 barrier, int number) {
        if (number == mutant) return;
        end_interval();
        emulator::order_barrier();
        emulator::barrier(0, &barrier_sites[barrier & 15]);
    }
    pred op_bar_red_or(u32 barrier, pred p, int number) {
        if (number == mutant) return p;
        end_interval();
        emulator::order_barrier();
        return emulator::barrier(p ? 1 : 0, &barrier_sites[barrier & 15]) != 0;
    }
    void op_membar_gl(int number) const {
        if (number == mutant) return;
        emulator::order_fence();
        __threadfence();
    }
    void op_bar_warp_sync(u32 mask) const { __syncwarp(mask); }
    u32 op_vote_sync_ballot(pred p, u32 mask) const { return __ballot_sync(mask, p); }

    template <char kMode, class T>
    Shuffled<T> op_shfl_sync(T value, u32 b, u32 c, u32 mask) const {
        const auto from = [=](unsigned lane) {
            return static_cast<unsigned>(shuffle_source<kMode>(static_cast<int>(lane), b, c).lane);
        };
        const T shuffled = emulator::shuffle("shfl.sync", mask, value, from);
        return {shuffled, shuffle_source<kMode>(static_cast<int>(me_.lane()), b, c).inside};
    }

private:
    u64 shared_begin() const { return reinterpret_cast<u64>(me_.block->shared.data()); }

    static void check_range(u64 offset, std::size_t size, std::size_t limit, const char* what) {
        if (offset > limit || size > limit - offset) {
            throw emulator::Error(std::string("address outside of ") + what);
        }
    }

    // The place of `num` values; faulty addresses are errors.
    template <Space kSpace, class T>
    T* at(u64 address, std::size_t num) const {
        const std::size_t size = num * sizeof(T);
        if constexpr (kSpace == Space::kShared) {
            check_range(address, size, emulator::compiled.running->shared_bytes, "shared memory");
            address += shared_begin();
        }
        if constexpr (kSpace == Space::kLocal) {
            check_range(address - local_, size, local_bytes_, "local memory");
        }
        if (address % size != 0) throw emulator::Error("misaligned address");
        return reinterpret_cast<T*>(address);
    }

    template <Space kSpace>
    void check(const void* place, std::size_t size, emulator::Access access) const {
        const u64 offset = reinterpret_cast<u64>(place) - shared_begin();
        const bool shared = kSpace == Space::kShared ||
                            (kSpace == Space::kGeneric && offset < emulator::kSharedBytes);
        if (shared) {
            emulator::check_access(place, size, access);
        } else if (kSpace == Space::kGlobal || kSpace == Space::kGeneric) {
            emulator::check_global_access(place, size, access);
        }
    }

    template <Space kSpace, class T, class Change>
    T whole_atomic(T* place, Change change) const {
        if constexpr (kSpace == Space::kShared) return emulator::atomic(place, change);
        emulator::maybe_yield();
        check<kSpace>(place, sizeof(T), emulator::Access::kAtomic);
        emulator::order_atomic(place);
        return emulator::atomic(place, change);
    }

    // The interval between two barriers has ended: the warp counts as its busiest lane.
    void end_interval() {
        if (intervals_.size() <= interval_) intervals_.resize(interval_ + 1);
        auto& warps = intervals_[interval_++];
        if (warps.size() <= me_.warp()) warps.resize(me_.warp() + 1);
        warps[me_.warp()].raise_to(counts_);
        counts_ = {};
    }

    const emulator::Parameter* parameters_;
    u64 local_;
    std::size_t local_bytes_;
    emulator::Thread& me_;
    emulator::IntervalCounts& intervals_;
    emulator::Counts counts_;
    std::size_t interval_ = 0;
};

// Addresses of global, local and parameter memory are generic already.
template <class T>
T op_cvta_global(T address) {
    return address;
}
template <class T>
T op_cvta_to_global(T address) {
    return address;
}
template <class T>
T op_cvta_local(T address) {
    return address;
}
template <class T>
T op_cvta_to_local(T address) {
    return address;
}

}  // namespace ptx
