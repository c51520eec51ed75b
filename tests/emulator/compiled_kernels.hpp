// SPDX-License-Identifier: Apache-2.0
//
// Kernels as a compiler made them, translated from PTX, in place of their sources.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "tests/emulator/cuda_emulator.hpp"
#include "tests/emulator/global_memory.hpp"

namespace emulator {

/// A parameter of a kernel.
struct Parameter {
    const void* address;
    std::size_t size;
};

/// A translated kernel. `run` is called on the fiber of each thread.
struct CompiledKernel {
    void (*run)(const Parameter* parameters);
    std::size_t shared_bytes;
    unsigned max_threads;  // its launch bounds; 0: none
};
using CompiledKernels = std::map<std::string, CompiledKernel>;

/// What a thread, a warp or a block did.
struct Counts {
    std::uint64_t instructions = 0, global_accesses = 0;

    void operator+=(const Counts& other) {
        instructions += other.instructions;
        global_accesses += other.global_accesses;
    }
    /// Keep the larger of each.
    void raise_to(const Counts& other) {
        instructions = std::max(instructions, other.instructions);
        global_accesses = std::max(global_accesses, other.global_accesses);
    }
};

/// What a launch did. A warp counts as its busiest lane, from one barrier to the next; a block
/// takes as long as its busiest warp of each of these intervals.
struct LaunchCounts {
    std::string kernel;
    Counts of_warps, longest_block;
};

/// The busiest lane of each warp, by interval between barriers, in one block.
using IntervalCounts = std::vector<std::vector<Counts>>;

/// Translated kernels that stand in for the sources, and what their launches did.
struct Compiled {
    const CompiledKernels* kernels = nullptr;  // null: the sources run
    const CompiledKernel* running = nullptr;
    std::map<unsigned, IntervalCounts> blocks;  // of the running launch
    std::vector<LaunchCounts> launches;
};
inline Compiled compiled;

/// Sum up the launch that has ended.
inline LaunchCounts sum_up_launch(const std::string& name) {
    LaunchCounts launch{name, {}, {}};
    for (const auto& [number, intervals] : compiled.blocks) {
        Counts of_block;
        for (const auto& warps : intervals) {
            Counts busiest;
            for (const Counts& warp : warps) {
                launch.of_warps += warp;
                busiest.raise_to(warp);
            }
            of_block += busiest;
        }
        launch.longest_block.raise_to(of_block);
    }
    return launch;
}

/// Launch a translated kernel by its name.
inline void launch_compiled(const std::string& name, dim3 grid, dim3 block,
                            const Parameter* parameters) {
    const auto found = compiled.kernels->find(name);
    if (found == compiled.kernels->end()) throw Error("no compiled kernel is called " + name);
    const CompiledKernel& kernel = found->second;
    if (kernel.max_threads > 0 && block.x * block.y * block.z > kernel.max_threads) {
        throw Error("a block of " + name + " must have at most " +
                    std::to_string(kernel.max_threads) + " threads, its launch bounds");
    }
    if (kernel.shared_bytes > kSharedBytes) throw Error("more than 48 KiB of static shared memory");
    compiled.running = &kernel;
    compiled.blocks.clear();
    global_order = {};
    launch(grid, block, [&] { kernel.run(parameters); });
    compiled.launches.push_back(sum_up_launch(name));
}

/// Name of a kernel without its namespace, as in "tile_kernel<half>".
template <auto kernel>
std::string kernel_name() {
    const std::string_view text = __PRETTY_FUNCTION__;
    const auto end = text.find_first_of(";]", text.find("_kernel"));
    const auto begin = text.rfind("::", text.find("_kernel")) + 2;
    std::string name(text.substr(begin, end - begin));
    const auto half = name.find("_Float16");
    return half == name.npos ? name : name.replace(half, 8, "half");
}

template <class... Values>
void launch_compiled(const std::string& name, dim3 grid, dim3 block,
                     const std::tuple<Values...>& values) {
    std::apply(
        [&](const auto&... value) {
            const Parameter parameters[] = {{&value, sizeof value}...};
            launch_compiled(name, grid, block, parameters);
        },
        values);
}

/// Launch a kernel: what was compiled from it if there is any, otherwise its source.
template <auto kernel, class... Values>
void run_kernel(dim3 grid, dim3 block, const Values&... values) {
    if (compiled.kernels == nullptr) {
        launch(grid, block, [&] { kernel(values...); });
    } else {
        const auto convert = []<class... Parameters>(void (*)(Parameters...), const auto&... each) {
            return std::tuple<Parameters...>(each...);
        };
        launch_compiled(kernel_name<kernel>(), grid, block, convert(kernel, values...));
    }
}

}  // namespace emulator
