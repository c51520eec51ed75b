// SPDX-License-Identifier: Apache-2.0
//
// The kernels as C functions for ctypes, linked with kernels/*.cu compiled for the emulator.
// Functions return an empty string or an error message.
#include <algorithm>
#include <string>
#include <vector>

#include "kernels/components.hpp"
#include "tests/emulator/faults.hpp"

namespace {

std::string message;

template <class Function>
const char* guarded(Function function) {
    message.clear();
    try {
        function();
    } catch (const std::exception& error) {
        message = error.what();
    }
    return message.c_str();
}

/// Memory as from cudaMalloc: aligned and uninitialised.
class DeviceBuffer {
public:
    explicit DeviceBuffer(std::size_t num_bytes) : chunks_(num_bytes / sizeof(Chunk) + 1) {
        for (Chunk& chunk : chunks_)
            std::fill(std::begin(chunk.bytes), std::end(chunk.bytes), 0xA5);
    }
    void* data() { return chunks_.data(); }

private:
    struct alignas(256) Chunk {
        unsigned char bytes[256];
    };
    std::vector<Chunk> chunks_;
};

}  // namespace

extern "C" {

void emulator_configure(unsigned long long seed, int resident_blocks, int yield_one_in,
                        int check_races) {
    emulator::machine.options = {seed, resident_blocks, yield_one_in, check_races != 0};
    emulator::machine.num_races = 0;
    emulator::machine.first_race.clear();
}

const char* emulator_first_race() { return emulator::machine.first_race.c_str(); }

// Translated kernels that run in place of the sources, or null.
void emulator_use(const void* kernels) {
    emulator::compiled.kernels = static_cast<const emulator::CompiledKernels*>(kernels);
    emulator::compiled.launches.clear();
}

// Runs a translated kernel on blocks of a row of threads; each parameter is the address of its
// value, of 8 bytes.
const char* run_compiled(const char* name, unsigned num_blocks, unsigned num_threads,
                         const void* const* values, int num_values) {
    return guarded([&] {
        std::vector<emulator::Parameter> parameters;
        for (int i = 0; i < num_values; ++i) parameters.push_back({values[i], 8});
        emulator::launch_compiled(name, dim3(num_blocks), dim3(num_threads), parameters.data());
    });
}

// Counts of one of the launches of translated kernels since emulator_use: its kernel's name, or
// null after the last launch.
const char* emulator_counts(int launch, std::uint64_t* counts) {
    if (launch >= static_cast<int>(emulator::compiled.launches.size())) return nullptr;
    const emulator::LaunchCounts& found = emulator::compiled.launches[launch];
    counts[0] = found.of_warps.instructions;
    counts[1] = found.of_warps.global_accesses;
    counts[2] = found.longest_block.instructions;
    counts[3] = found.longest_block.global_accesses;
    return found.kernel.c_str();
}

const char* run_fault(const char* name, unsigned* out) {
    return guarded([&] { faults::run(name, out); });
}

// Labels a batch of maps, and lists the first pixel of each component. `firsts` has room for every
// pixel.
const char* run_components(const void* values, int is_half, const std::int32_t* sizes, int num_maps,
                           int height, int width, float threshold, float min_area,
                           std::uint32_t* labels, std::uint32_t* firsts,
                           std::uint32_t* num_firsts) {
    return guarded([&] {
        const dbnet::DeviceMaps maps{
            values,   is_half != 0, reinterpret_cast<const dbnet::MapSize*>(sizes),
            num_maps, height,       width};
        DeviceBuffer buffer(dbnet::component_workspace_bytes(num_maps, height, width));
        const dbnet::ComponentWorkspace workspace =
            dbnet::component_workspace(buffer.data(), num_maps, height, width);
        const dbnet::ComponentParams params{threshold, min_area};
        dbnet::find_components(maps, &params, workspace, nullptr);
        dbnet::write_labels(maps, workspace, labels, nullptr);
        const int max_roots = workspace.words_per_row * workspace.tile_rows * dbnet::kNodesPerTile;
        for (int i = 0; i < num_maps; ++i) {
            num_firsts[i] = workspace.counters[i].num_roots;
            for (std::uint32_t k = 0; k < num_firsts[i]; ++k) {
                const std::uint32_t root = workspace.roots[i * max_roots + k];
                firsts[i * height * width + k] = workspace.nodes[root].first;
            }
        }
    });
}
}
