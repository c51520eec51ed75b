// SPDX-License-Identifier: Apache-2.0
//
// A lock-free union-find forest for many threads. A root is its own parent and the smallest index
// of its tree; links only lead to smaller indices, so every walk ends.
#pragma once

#include <cstdint>

#include "kernels/portable.hpp"

namespace dbnet {

/// Find the root of node i. `parent(i)` is the address of the parent of node i.
template <class Parent>
__device__ __forceinline__ std::uint32_t find_root(Parent parent, std::uint32_t i) {
    for (std::uint32_t next = read_relaxed(parent(i)); next != i; next = read_relaxed(parent(i))) {
        i = next;
    }
    return i;
}

/// Unite the trees of a and b: link the larger root to the smaller one. If another thread has
/// linked it elsewhere in the meantime, continue with the node that it was linked to.
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
