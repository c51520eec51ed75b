// SPDX-License-Identifier: Apache-2.0
//
// Registers of PTX, and how an instruction reads and writes them: as bits of its own type.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace ptx {

using u8 = std::uint8_t;
using s8 = std::int8_t;
using u16 = std::uint16_t;
using s16 = std::int16_t;
using u32 = std::uint32_t;
using s32 = std::int32_t;
using u64 = std::uint64_t;
using s64 = std::int64_t;
using f32 = float;
using f64 = double;
using pred = bool;

/// A half-precision number, which lies in a 16-bit register.
struct f16 {
    u16 bits;
};

/// The value of a register, read as whatever type the instruction has.
template <class Register>
struct In {
    Register value;

    template <class T>
    operator T() const {
        static_assert(std::is_same_v<T, pred> == std::is_same_v<Register, pred>);
        if constexpr (sizeof(T) == sizeof(Register)) {
            return std::bit_cast<T>(value);
        } else {  // of an integer a narrower instruction reads the lower bits
            static_assert(sizeof(T) < sizeof(Register) && std::is_integral_v<Register> &&
                          std::is_integral_v<T>);
            return static_cast<T>(value);
        }
    }
};
template <class Register>
In(Register) -> In<Register>;

/// An integer that stands in the instruction.
struct Immediate {
    s64 value;

    template <class T>
    operator T() const {
        static_assert(std::is_integral_v<T>);
        return static_cast<T>(value);
    }
};

/// Write a result to a register, which may be wider: then it is extended as its type says.
template <class Register, class T>
void put(Register& to, T value) {
    static_assert(std::is_same_v<T, pred> == std::is_same_v<Register, pred>);
    if constexpr (sizeof(T) == sizeof(Register)) {
        to = std::bit_cast<Register>(value);
    } else {
        static_assert(sizeof(T) < sizeof(Register) && std::is_integral_v<Register> &&
                      std::is_integral_v<T>);
        to = static_cast<Register>(value);
    }
}

/// What a register or local memory holds before it is written: no useful address, size or number.
template <class Register>
Register poison() {
    Register value;
    std::memset(&value, 0xA5, sizeof value);
    return value;
}
template <>
inline pred poison<pred>() {
    return true;
}

}  // namespace ptx
