// SPDX-License-Identifier: Apache-2.0
#pragma once

// Run-time choice of AVX2. One build runs on any x86-64 (and on ARM): AVX2 code is compiled beside
// the portable code by function attribute and chosen at run time. DBNET_PORTABLE compiles only the
// portable code, to test it on machines that have AVX2.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(DBNET_PORTABLE)
#define DBNET_HAS_AVX2_CODE 1
#define DBNET_AVX2 __attribute__((target("avx2")))
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace dbnet {

#if defined(DBNET_HAS_AVX2_CODE)
/// Ask the CPU for AVX2, and whether the system keeps its registers. Not by __builtin_cpu_supports:
/// zig 0.17 links a run-time library in which it always says no.
inline bool ask_for_avx2() {
    constexpr unsigned kSavesRegisters = 1u << 27, kAvx2 = 1u << 5, kSseAndAvx = 6;
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & kSavesRegisters)) return false;
    unsigned saved = 0, high = 0;
    __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if ((saved & kSseAndAvx) != kSseAndAvx) return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & kAvx2);
}
#endif

/// Whether AVX2 code is compiled in and this CPU runs it.
inline bool cpu_has_avx2() {
#if defined(DBNET_HAS_AVX2_CODE)
    static const bool answer = ask_for_avx2();
    return answer;
#else
    return false;
#endif
}

}  // namespace dbnet
