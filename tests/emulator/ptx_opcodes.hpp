// SPDX-License-Identifier: Apache-2.0
//
// Instructions of PTX that only compute: op_NAME_QUALIFIERS<TYPES>, by the PTX ISA, version 8.8.
// What has no meaning on a GPU, as a division by zero, is an error.
#pragma once

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <limits>

#include "tests/emulator/machine.hpp"
#include "tests/emulator/ptx_registers.hpp"

namespace ptx {

template <class T>
constexpr u32 kBits = 8 * sizeof(T);

// ---- integers: sums and products wrap around

template <class T>
T op_add(T a, T b) {
    return static_cast<T>(static_cast<u64>(a) + static_cast<u64>(b));
}
template <class T>
T op_sub(T a, T b) {
    return static_cast<T>(static_cast<u64>(a) - static_cast<u64>(b));
}
template <class T>
T op_mul_lo(T a, T b) {
    return static_cast<T>(static_cast<u64>(a) * static_cast<u64>(b));
}
template <class T>
T op_mad_lo(T a, T b, T c) {
    return op_add<T>(op_mul_lo<T>(a, b), c);
}
template <class T>
auto op_mul_wide(T a, T b) {
    using Signed = std::conditional_t<sizeof(T) == 2, s32, s64>;
    using Unsigned = std::conditional_t<sizeof(T) == 2, u32, u64>;
    using Wide = std::conditional_t<std::is_signed_v<T>, Signed, Unsigned>;
    return static_cast<Wide>(static_cast<Wide>(a) * static_cast<Wide>(b));
}
template <class T>
T op_div(T a, T b) {
    if (b == 0) throw emulator::Error("division by zero");
    if (std::is_signed_v<T> && b == static_cast<T>(-1)) return op_sub<T>(0, a);
    return static_cast<T>(a / b);
}
template <class T>
T op_rem(T a, T b) {
    return op_sub<T>(a, op_mul_lo<T>(op_div<T>(a, b), b));
}
template <class T>
T op_neg(T a) {
    if constexpr (std::is_integral_v<T>) return op_sub<T>(0, a);
    return -a;
}
template <class T>
T op_abs(T a) {
    return a < 0 ? op_neg<T>(a) : a;
}
template <class T>
T op_min(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) return std::fmin(a, b);  // of a NaN the other
    return std::min(a, b);
}
template <class T>
T op_max(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) return std::fmax(a, b);
    return std::max(a, b);
}

// ---- bits

template <class T>
T op_and(T a, T b) {
    return a & b;
}
template <class T>
T op_or(T a, T b) {
    return a | b;
}
template <class T>
T op_xor(T a, T b) {
    return a ^ b;
}
template <class T>
T op_not(T a) {
    if constexpr (std::is_same_v<T, pred>) return !a;
    return static_cast<T>(~a);
}
/// Shifts by more than the width give zero, or the sign.
template <class T>
T op_shl(T a, u32 by) {
    return by >= kBits<T> ? T{0} : static_cast<T>(a << by);
}
template <class T>
T op_shr(T a, u32 by) {
    return static_cast<T>(by < kBits<T> ? a >> by : a < 0 ? -1 : 0);
}
template <class T>
u32 op_clz(T a) {
    return static_cast<u32>(std::countl_zero(a));
}
template <class T>
u32 op_popc(T a) {
    return static_cast<u32>(std::popcount(a));
}
template <class T>
T op_brev(T a) {
    T reversed = 0;
    for (u32 i = 0; i < kBits<T>; ++i)
        reversed |= static_cast<T>((a >> i & 1) << (kBits<T> - 1 - i));
    return reversed;
}
/// How far to shift the highest bit to the top; all ones if there is none.
template <class T>
u32 op_bfind_shiftamt(T a) {
    return a == 0 ? ~u32{0} : op_clz<T>(a);
}
/// `b` with the lowest `length` bits of `a` inserted at bit `start`.
template <class T>
T op_bfi(T a, T b, u32 start, u32 length) {
    start &= 0xFF;
    length &= 0xFF;
    const T ones = op_not<T>(op_shl<T>(static_cast<T>(~T{0}), length));
    const T mask = op_shl<T>(ones, start);
    return (b & ~mask) | (op_shl<T>(a, start) & mask);
}
/// Four bytes chosen from eight; a choice with bit 3 set gives the sign of its byte.
template <class T>
T op_prmt(T a, T b, T choices) {
    const u64 bytes = static_cast<u64>(b) << 32 | a;
    T result = 0;
    for (int i = 0; i < 4; ++i) {
        const u32 choice = choices >> 4 * i & 15;
        u32 byte = static_cast<u32>(bytes >> 8 * (choice & 7)) & 0xFF;
        if (choice & 8) byte = byte & 0x80 ? 0xFF : 0;
        result |= byte << 8 * i;
    }
    return result;
}
/// c plus two products of 16-bit halves of `a` and the lower bytes of `b`.
template <class A, class B>
s32 op_dp2a_lo(A a, B b, s32 c) {
    static_assert(std::is_same_v<A, s32> && std::is_same_v<B, u32>);
    const s32 low = static_cast<s16>(a), high = a >> 16;
    const s32 first = static_cast<u8>(b), second = static_cast<u8>(b >> 8);
    return op_add<s32>(op_add<s32>(c, low * first), high * second);
}

// ---- moves, choices, comparisons

template <class T>
T op_mov(T a) {
    return a;
}
template <class T>
T op_selp(T a, T b, pred p) {
    return p ? a : b;
}

template <class T>
bool is_nan(T a) {
    return a != a;
}
template <class T>
pred op_setp_eq(T a, T b) {
    return a == b;
}
template <class T>
pred op_setp_ne(T a, T b) {  // of numbers: a NaN is not equal, and not "ne" either
    return !is_nan(a) && !is_nan(b) && a != b;
}
template <class T>
pred op_setp_lt(T a, T b) {
    return a < b;
}
template <class T>
pred op_setp_le(T a, T b) {
    return a <= b;
}
template <class T>
pred op_setp_gt(T a, T b) {
    return a > b;
}
template <class T>
pred op_setp_ge(T a, T b) {
    return a >= b;
}
/// Comparisons of floating-point numbers that hold for NaN, too.
template <class T>
pred op_setp_neu(T a, T b) {
    return !(a == b);
}
template <class T>
pred op_setp_leu(T a, T b) {
    return !(a > b);
}
template <class T>
pred op_setp_ltu(T a, T b) {
    return !(a >= b);
}
template <class T>
pred op_setp_geu(T a, T b) {
    return !(a < b);
}
template <class T>
pred op_setp_gtu(T a, T b) {
    return !(a <= b);
}

// ---- floating-point numbers

template <class T>
T op_add_rn(T a, T b) {
    return a + b;
}
template <class T>
T op_sub_rn(T a, T b) {
    return a - b;
}
template <class T>
T op_mul_rn(T a, T b) {
    return a * b;
}
template <class T>
T op_div_rn(T a, T b) {
    return a / b;
}
template <class T>
T op_rcp_rn(T a) {
    return 1 / a;
}
template <class T>
T op_sqrt_rn(T a) {
    return std::sqrt(a);
}
template <class T>
T op_fma_rn(T a, T b, T c) {
    return std::fma(a, b, c);
}
/// Rounded downwards. The volatile variables keep the compiler from rounding before or after.
template <class T>
T op_fma_rm(T a, T b, T c) {
    const volatile T x = a, y = b, z = c;
    const int before = std::fegetround();
    std::fesetround(FE_DOWNWARD);
    const volatile T result = std::fma(x, y, z);
    std::fesetround(before);
    return result;
}
/// A GPU errs by up to 2 units in the last place here; subnormal numbers are zero.
template <class T>
T op_ex2_approx_ftz(T a) {
    const T result = std::exp2(a);
    return result < std::numeric_limits<T>::min() ? 0 : result;
}

// ---- conversions

template <class To, class From>
To op_cvt(From a) {
    if constexpr (std::is_same_v<From, f16>) return static_cast<To>(std::bit_cast<_Float16>(a));
    if constexpr (!std::is_same_v<From, f16>) return static_cast<To>(a);
}
template <class To, class From>
To op_cvt_rn(From a) {
    if constexpr (std::is_same_v<To, f16>) {
        return std::bit_cast<f16>(static_cast<_Float16>(a));
    } else {
        return static_cast<To>(a);
    }
}
/// To the integer towards zero; what is too large becomes the limit, NaN becomes zero.
template <class To, class From>
To op_cvt_rzi(From a) {
    using Limits = std::numeric_limits<To>;
    if (is_nan(a)) return 0;
    const From whole = std::trunc(a);
    if (whole <= static_cast<From>(Limits::min())) return Limits::min();
    if (whole >= static_cast<From>(Limits::max())) return Limits::max();
    return static_cast<To>(whole);
}
template <class To, class From>
To op_cvt_rmi(From a) {
    return std::floor(a);
}
template <class To, class From>
To op_cvt_rpi(From a) {
    return std::ceil(a);
}
/// To [0, 1]; NaN becomes zero.
template <class To, class From>
To op_cvt_sat(From a) {
    return a > 0 ? (a < 1 ? a : 1) : 0;
}

}  // namespace ptx
