// SPDX-License-Identifier: Apache-2.0
//
// Boxes from components, in three launches.
//   boxes       one block per component: row extents, hull, min-area rectangle; then, unless the
//               component is large, mean probability, unclipping and filters
//   scores      the same for large components; the warps of many blocks add up one mean
//   ranking     sort the candidates and write the result
#include <algorithm>
#include <cmath>

#include "kernels/boxes.cuh"
#include "kernels/ranking.cuh"
#include "kernels/rectangles.cuh"
#include "kernels/scores.cuh"

namespace dbnet {
namespace {

constexpr int kThreads = kRowsAtOnce, kWarps = kThreads / kWarpSize;

// Numbers of blocks depend on the shape of the maps alone, so that one graph fits any number of
// components; blocks without work end at once. None of them was measured on a GPU: they follow from
// instruction counts.
//
// One block finds boxes per 1024 pixels, 32 x 32: hardly any page has more legible texts. For 6
// resident blocks on a multiprocessor NVRTC 12.9 and nvcc 13.0 take 67 to 80 registers per thread;
// left to itself NVRTC takes 64 on sm_90, with spills. Shared memory, 12.4 KiB, is a limit on sm_75
// alone, to 5 blocks.
constexpr unsigned kPixelsPerBlock = 1024, kMaxBlocks = 1024, kResidentBlocks = 6;
// 256 warps add up a large box, four patches each if it covers 736 x 1280 pixels. A map of that
// size has room for 14 boxes with as many patches as warps.
constexpr unsigned kScoreThreads = 256, kWarpsPerLargeBox = 256, kPixelsPerLargeBox = 1 << 16;
// Left to itself ptxas takes 64 registers on sm_75, sm_86 and sm_89, with 8 bytes of spills.
constexpr unsigned kResidentScoreBlocks = 3;
// One block ranks 32 candidates at a time, one per 256 pixels.
constexpr unsigned kPixelsPerRanking = 8192;

constexpr float kMinSideGain = 2.f;  // as in the original code: 3 before unclipping, 5 after

// D' = A' r' / L', for area A', perimeter L', ratio r'.
__device__ __forceinline__ double unclip_distance(const RotatedRectangle& rectangle,
                                                  float unclip_ratio) {
    return rectangle.area() * unclip_ratio / (2 * (rectangle.length() + rectangle.b_max));
}

// Appends the candidate of a rectangle if it passes the filters. Called by one thread.
__device__ void append_candidate(const BoxKernelParams& params, int map_number, std::uint32_t first,
                                 const RotatedRectangle& rectangle, const PixelSum& pixels) {
    const float score = pixels.mean();
    if (score < params.box->score_threshold) return;
    const double distance = unclip_distance(rectangle, params.box->unclip_ratio);
    if (rectangle.short_side() + 2 * distance < params.box->min_side + kMinSideGain) return;
    ComponentCounters& counters = params.workspace.components.counters[map_number];
    const std::uint32_t place = atomicAdd(&counters.num_candidates, 1u);
    if (place >= kMaxCandidates) return;
    const std::size_t at = static_cast<std::size_t>(map_number) * kMaxCandidates + place;
    Candidate& candidate = params.workspace.candidates[at];
    for (int k = 0; k < 4; ++k) candidate.corners[k] = corner(rectangle, distance, k);
    candidate.score = score;
    candidate.first = first;
    const unsigned long long worse = __float_as_uint(1.f) - __float_as_uint(score);
    params.workspace.sort_keys[at] = worse << 32 | first;
}

__device__ __forceinline__ LargeBox* large_boxes(const BoxKernelParams& params, int map_number) {
    const BoxWorkspace& ws = params.workspace;
    return ws.large_boxes + static_cast<std::size_t>(map_number) * ws.max_large_boxes;
}

// Leaves a component to scores_kernel. Called by one thread.
__device__ void append_large_box(const BoxKernelParams& params, const Component& component,
                                 const RotatedRectangle& rectangle, int num_patches) {
    ComponentCounters& counters = params.workspace.components.counters[component.map_number];
    const std::uint32_t place = atomicAdd(&counters.num_large, 1u);
    large_boxes(params, component.map_number)[place] = {
        rectangle, 0, 0, 0, static_cast<std::uint32_t>(num_patches), component.first};
}

// Finds the rectangle of a component and, unless it is large, its score. All threads of the block
// take the same branches.
template <class T>
__device__ void read_text(const BoxKernelParams& params, const Component& component) {
    DBNET_SHARED(RotatedRectangle, s_rectangle, 1);
    DBNET_SHARED(PixelSum, s_sums, kWarps);
    const float min_side = params.box->min_side;
    const int width = component.x_max - component.x_min, height = component.y_max - component.y_min;
    const int map_number = component.map_number, t = threadIdx.x, warp = t / kWarpSize;
    // The min-area rectangle is no larger than the upright one: this drops most specks.
    if (static_cast<float>(width * height) < min_side * min_side) return;
    if (!find_rectangle(params, component, s_rectangle)) return;
    const RotatedRectangle rectangle = s_rectangle[0];
    if (rectangle.short_side() < min_side) return;
    const bool is_large = width * height > kLargeArea;
    if (is_large && warp > 0) return;
    const FilledQuad quad(rectangle, params.maps.sizes[map_number]);
    if (is_large) {
        if (t == 0) append_large_box(params, component, rectangle, num_patches(quad.canvas));
        return;
    }
    const PixelSum of_warp = sum_patches<T>(params, map_number, quad, warp, kWarps);
    if (t % kWarpSize == 0) s_sums[warp] = of_warp;
    __syncthreads();
    if (t != 0) return;
    PixelSum pixels{0, 0};
    for (int i = 0; i < kWarps; ++i) pixels += s_sums[i];
    append_candidate(params, map_number, component.first, rectangle, pixels);
}

// Each block handles every gridDim.x-th component of its map. Blocks share only the lists of
// candidates and of large boxes.
template <class T>
__global__ void __launch_bounds__(kThreads, kResidentBlocks) boxes_kernel(BoxKernelParams params) {
    const int map_number = blockIdx.z;
    const std::uint32_t num_roots = params.workspace.components.counters[map_number].num_roots;
    for (std::uint32_t i = blockIdx.x; i < num_roots; i += gridDim.x) {
        read_text<T>(params, read_component(params, map_number, i));
    }
}

// Adds up some of a large box's patches. The last warp to do so appends the candidate.
template <class T>
__device__ void add_patches(const BoxKernelParams& params, int map_number, LargeBox& box,
                            int part) {
    const RotatedRectangle rectangle = box.rectangle;
    const FilledQuad quad(rectangle, params.maps.sizes[map_number]);
    const PixelSum of_warp = sum_patches<T>(params, map_number, quad, part, kWarpsPerLargeBox);
    if (threadIdx.x % kWarpSize != 0) return;
    atomicAdd(&box.sum, of_warp.sum);
    atomicAdd(&box.num_pixels, of_warp.num);
    __threadfence();
    const std::uint32_t num_done = 1 + atomicAdd(&box.num_warps_done, 1u);
    __threadfence();
    if (num_done < box.num_patches && num_done < kWarpsPerLargeBox) return;
    const PixelSum pixels{read_relaxed(&box.sum), read_relaxed(&box.num_pixels)};
    append_candidate(params, map_number, box.first, rectangle, pixels);
}

// A row of blocks shares every gridDim.y-th large box of its map.
template <class T>
__global__ void __launch_bounds__(kScoreThreads, kResidentScoreBlocks)
    scores_kernel(BoxKernelParams params) {
    const int map_number = blockIdx.z;
    const unsigned part = (blockIdx.x * kScoreThreads + threadIdx.x) / kWarpSize;
    const unsigned num_boxes = params.workspace.components.counters[map_number].num_large;
    for (unsigned i = blockIdx.y; i < num_boxes; i += gridDim.y) {
        LargeBox& box = large_boxes(params, map_number)[i];
        if (part < box.num_patches) add_patches<T>(params, map_number, box, part);
    }
}

// Each block ranks 32 candidates of its map at a time, and writes the best boxes in order. No two
// keys are equal.
__global__ void __launch_bounds__(kRankingThreads) ranking_kernel(BoxKernelParams params) {
    const int map_number = blockIdx.z, t = threadIdx.x;
    const std::size_t base = static_cast<std::size_t>(map_number) * kMaxCandidates;
    const unsigned long long* const keys = params.workspace.sort_keys + base;
    const Candidate* const candidates = params.workspace.candidates + base;
    TextBox* const boxes =
        params.found.boxes + static_cast<std::size_t>(map_number) * params.found.capacity;
    const unsigned num_found = params.workspace.components.counters[map_number].num_candidates;
    const unsigned num = num_found < kMaxCandidates ? num_found : kMaxCandidates;
    const unsigned limit = max_boxes(params);
    if (blockIdx.x == 0 && t == 0) {
        params.found.counts[map_number] = {num < limit ? num : limit, num_found - num};
    }
    for (unsigned first = blockIdx.x * kWarpSize; first < num; first += gridDim.x * kWarpSize) {
        const unsigned mine = first + t % kWarpSize;
        const unsigned rank = rank_of(keys, num, mine < num ? keys[mine] : 0);
        if (t >= kWarpSize || mine >= num || rank >= limit) continue;
        write_box(params, map_number, candidates[mine], boxes[rank]);
    }
}

BoxWorkspace lay_out_workspace(void* buffer, int num_maps, int height, int width,
                               std::size_t& size) {
    const std::size_t maps = num_maps;
    const std::size_t max_large = static_cast<std::size_t>(height) * width / kMinLargePixels;
    const std::size_t key_bytes = maps * kMaxCandidates * sizeof(unsigned long long);
    const std::size_t candidate_bytes = maps * kMaxCandidates * sizeof(Candidate);
    char* const keys =
        static_cast<char*>(buffer) + component_workspace_bytes(num_maps, height, width);
    char* const candidates = keys + key_bytes;
    char* const large = candidates + candidate_bytes;
    size = large + maps * max_large * sizeof(LargeBox) - static_cast<char*>(buffer);
    return {component_workspace(buffer, num_maps, height, width),
            reinterpret_cast<unsigned long long*>(keys), reinterpret_cast<Candidate*>(candidates),
            reinterpret_cast<LargeBox*>(large), static_cast<int>(max_large)};
}

template <class T>
void launch(const BoxKernelParams& params, Stream stream) {
    const DeviceMaps& maps = params.maps;
    const unsigned num_maps = maps.num_maps, num_pixels = maps.height * maps.width;
    const dim3 blocks(std::min(ceil_div(num_pixels, kPixelsPerBlock), kMaxBlocks), 1, num_maps);
    DBNET_LAUNCH(boxes_kernel<T>, blocks, dim3(kThreads), stream, params);
    if ((maps.height - 1) * (maps.width - 1) > kLargeArea) {
        const dim3 shares(kWarpsPerLargeBox * kWarpSize / kScoreThreads,
                          ceil_div(num_pixels, kPixelsPerLargeBox), num_maps);
        DBNET_LAUNCH(scores_kernel<T>, shares, dim3(kScoreThreads), stream, params);
    }
    const dim3 rankings(
        std::min(ceil_div(num_pixels, kPixelsPerRanking), unsigned{kMaxCandidates / kWarpSize}), 1,
        num_maps);
    DBNET_LAUNCH(ranking_kernel, rankings, dim3(kRankingThreads), stream, params);
}

}  // namespace

std::size_t box_workspace_bytes(int num_maps, int height, int width) {
    std::size_t size;
    lay_out_workspace(nullptr, num_maps, height, width, size);
    return size;
}

void find_boxes(const DeviceMaps& maps, const MapSize* image_sizes, const BoxParams* params,
                void* workspace, const FoundBoxes& found, Stream stream) {
    std::size_t size;
    const BoxWorkspace ws =
        lay_out_workspace(workspace, maps.num_maps, maps.height, maps.width, size);
    find_components(maps, &params->components, ws.components, stream);
    const BoxKernelParams kernel_params{maps, image_sizes, params, ws, found};
    if (maps.is_half) {
        launch<Half>(kernel_params, stream);
    } else {
        launch<float>(kernel_params, stream);
    }
}

void write_box_labels(const DeviceMaps& maps, void* workspace, std::uint32_t* labels,
                      Stream stream) {
    std::size_t size;
    const BoxWorkspace ws =
        lay_out_workspace(workspace, maps.num_maps, maps.height, maps.width, size);
    write_labels(maps, ws.components, labels, stream);
}

}  // namespace dbnet
