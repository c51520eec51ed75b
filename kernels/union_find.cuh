// SPDX-License-Identifier: Apache-2.0
//
// A union-find forest that many threads grow at once, without locks. A root is its own parent and
// the least index of its tree; links only ever lead to smaller indices, so every walk ends.
#pragma once

#include <cstdint>

#include "kernels/portable.hpp"

namespace dbnet {

template <class Parent>
__device__ __forceinline__ std::uint32_t find_root(Parent parent, std::uint32_t i) {
    for (std::uint32_t next = read_relaxed(parent(i)); next != i; next = read_relaxed(parent(i))) {
        i = next;
    }
    return i;
}

// Links the larger root below the smaller one. Where another thread has linked it elsewhere in the
// meantime, goes on with what it was linked to.
template <class Parent>
__device__ __forceinline__ void unite(Parent parent, std::uint32_t a, std::uint32_t b) {
    for (;;) {
        a = find_root(parent, a);
        b = find_root(parent, b);
        if (a == b) return;
        const std::uint32_t larger = a > b ? a : b, smaller = a > b ? b : a;
        const std::uint32_t old = atomicMin(parent(larger), smaller);
        if (old == larger) return;
        a = smaller;
        b = old;
    }
}

}  // namespace dbnet
