// SPDX-License-Identifier: Apache-2.0
#pragma once

// Run-time choice of AVX2. One build runs on any x86-64 (and on ARM): AVX2 code is compiled beside
// the portable code by function attribute and chosen at run time. DBNET_PORTABLE compiles only the
// portable code, to test it on machines that have AVX2.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(DBNET_PORTABLE)
#define DBNET_HAS_AVX2_CODE 1
#define DBNET_AVX2 __attribute__((target("avx2")))
#include <immintrin.h>
#endif

namespace dbnet {

/// Whether AVX2 code is compiled in and this CPU runs it.
inline bool cpu_has_avx2() {
#if defined(DBNET_HAS_AVX2_CODE)
    static const bool answer = __builtin_cpu_supports("avx2");
    return answer;
#else
    return false;
#endif
}

}  // namespace dbnet
