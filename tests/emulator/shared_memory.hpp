// SPDX-License-Identifier: Apache-2.0
//
// Shared memory of a block, and the race checker.
#pragma once

#include "tests/emulator/machine.hpp"

namespace emulator {

/// Kind of an access.
enum class Access { kRead, kWrite, kRelaxedRead, kRelaxedWrite, kAtomic };

/// Count a race of the current thread with thread `other`; the first one is described.
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

/// Report a race unless the access is ordered after the previous ones of the cell.
inline void check_cell(Cell& cell, Access access, const void* address) {
    const Thread& me = *machine.current;
    const int self = static_cast<int>(me.linear);
    const bool writes = access != Access::kRead && access != Access::kRelaxedRead;
    // Atomics and relaxed accesses may race with each other.
    const bool atomic = access != Access::kRead && access != Access::kWrite;
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

/// Check an access, if it is to shared memory and the race checker is on.
inline void check_access(const void* address, std::size_t size, Access access) {
    if (!machine.options.check_races) return;
    Block& block = *machine.current->block;
    const auto offset = static_cast<const unsigned char*>(address) - block.shared.data();
    if (offset < 0 || offset >= static_cast<std::ptrdiff_t>(block.shared.size())) return;
    const std::size_t first = static_cast<std::size_t>(offset) / kCellBytes;
    const std::size_t last = (static_cast<std::size_t>(offset) + size - 1) / kCellBytes;
    for (std::size_t i = first; i <= last; ++i) check_cell(block.cells[i], access, address);
}

/// Reference to an element of a shared array, which checks accesses.
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

/// A shared array with bounds checks.
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

/// The block's array with a key, created when the first thread requests it.
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

}  // namespace emulator
