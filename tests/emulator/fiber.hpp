// SPDX-License-Identifier: Apache-2.0
//
// Fibers: functions that switch to each other cooperatively. On x86-64 by a few instructions, since
// swapcontext makes system calls; elsewhere by ucontext.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulator {

constexpr std::size_t kStackBytes = 64 * 1024;

#if defined(__x86_64__)

using FiberContext = void*;  // stack pointer; the saved registers are on the stack

extern "C" void emulator_switch(void** save, void* load);
asm(R"(
.text
.weak emulator_switch
.type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulator_switch, .-emulator_switch
)");

/// A function with a stack of its own.
class Fiber {
public:
    /// Restart: the next `enter` calls `run`, which must not return.
    void prepare(void (*run)()) {
        constexpr int kSavedRegisters = 6;
        if (!stack_) stack_ = std::make_unique<char[]>(kStackBytes);
        const auto end = reinterpret_cast<std::uintptr_t>(stack_.get() + kStackBytes);
        auto* top = reinterpret_cast<std::uint64_t*>(end & ~std::uintptr_t{15});
        *--top = 0;  // in place of a return address: keeps the stack aligned
        *--top = reinterpret_cast<std::uint64_t>(run);
        for (int i = 0; i < kSavedRegisters; ++i) *--top = 0;
        context_ = top;
    }
    /// Switch to the fiber; `from` keeps the caller's state.
    void enter(FiberContext& from) { emulator_switch(&from, context_); }
    /// Switch from the fiber back to the caller.
    void leave(FiberContext& to) { emulator_switch(&context_, to); }

private:
    std::unique_ptr<char[]> stack_;
    FiberContext context_ = nullptr;
};

#else

using FiberContext = ucontext_t;

/// The same by ucontext.
class Fiber {
public:
    void prepare(void (*run)()) {
        if (!stack_) stack_ = std::make_unique<char[]>(kStackBytes);
        getcontext(&context_);
        context_.uc_stack.ss_sp = stack_.get();
        context_.uc_stack.ss_size = kStackBytes;
        context_.uc_link = nullptr;
        makecontext(&context_, run, 0);
    }
    void enter(FiberContext& from) { swapcontext(&from, &context_); }
    void leave(FiberContext& to) { swapcontext(&context_, &to); }

private:
    std::unique_ptr<char[]> stack_;
    FiberContext context_{};
};

#endif

}  // namespace emulator
