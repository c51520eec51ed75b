// SPDX-License-Identifier: Apache-2.0
//
// Resize, normalise and pad a batch in one launch. One thread computes one pixel of the network's
// input, all three channels; threads are independent. Each writes 12 or 6 bytes and reads four
// source pixels, mostly from the cache. Instruction counts (some 210 per pixel) suggest that it is
// bound by instruction issue rather than memory; not measured on a GPU.
#include "kernels/portable.hpp"
#include "kernels/preprocess.hpp"

namespace dbnet {
namespace {

// 32 x 8: a warp is 32 pixels of a row, so that its writes to each plane are contiguous and share
// the row's tap; the 8 rows of a block read overlapping source rows from the cache. At 38 to 40
// registers per thread (nvcc 13.0, sm_86 to sm_120), 6 blocks fit on a multiprocessor. Not measured
// on a GPU.
constexpr unsigned kBlockWidth = 32, kBlockHeight = 8;

/// The channels of one pixel.
struct Pixel {
    int channel[3];  // blue, green, red
};

__device__ __forceinline__ int to_byte(int value) {
    return value < 0 ? 0 : value > 255 ? 255 : value;
}

__device__ __forceinline__ Pixel read_bgr(const DeviceImage& image, int x, int y) {
    const std::uint8_t* p = image.pixels + y * image.pitch + 3 * static_cast<std::ptrdiff_t>(x);
    return {{p[0], p[1], p[2]}};
}

// BT.601 limited range in 20-bit fixed point, with the constants of OpenCV's COLOR_YUV2BGR_NV12.
__device__ __forceinline__ Pixel read_nv12(const DeviceImage& image, int x, int y) {
    constexpr int kShift = 20, kHalf = 1 << (kShift - 1);
    constexpr int kLuma = 1220542, kBlueU = 2116026, kGreenU = -409993, kGreenV = -852492,
                  kRedV = 1673527;
    const std::uint8_t* chroma = image.chroma + (y / 2) * image.chroma_pitch + (x & ~1);
    const int u = chroma[0] - 128, v = chroma[1] - 128;
    const int luma = image.pixels[y * image.pitch + x] - 16;
    const int base = (luma > 0 ? luma : 0) * kLuma + kHalf;
    return {{to_byte((base + kBlueU * u) >> kShift),
             to_byte((base + kGreenV * v + kGreenU * u) >> kShift),
             to_byte((base + kRedV * v) >> kShift)}};
}

template <bool kNv12>
__device__ __forceinline__ Pixel read_pixel(const DeviceImage& image, int x, int y) {
    return kNv12 ? read_nv12(image, x, y) : read_bgr(image, x, y);
}

// OpenCV's rounding: 11-bit weights across, keeping 15 bits, then down to 8.
__device__ __forceinline__ int blend(int p00, int p01, int p10, int p11, const ResizeTap& column,
                                     const ResizeTap& row) {
    const int upper = (p00 * column.first_weight + p01 * column.second_weight) >> 4;
    const int lower = (p10 * column.first_weight + p11 * column.second_weight) >> 4;
    return to_byte((((upper * row.first_weight) >> 16) + ((lower * row.second_weight) >> 16) + 2) >>
                   2);
}

template <bool kNv12>
__device__ __forceinline__ Pixel resized_pixel(const DeviceImage& image, const ResizeTap& column,
                                               const ResizeTap& row) {
    const Pixel p00 = read_pixel<kNv12>(image, column.first, row.first);
    const Pixel p01 = read_pixel<kNv12>(image, column.second, row.first);
    const Pixel p10 = read_pixel<kNv12>(image, column.first, row.second);
    const Pixel p11 = read_pixel<kNv12>(image, column.second, row.second);
    Pixel result;
    for (int c = 0; c < 3; ++c) {
        result.channel[c] =
            blend(p00.channel[c], p01.channel[c], p10.channel[c], p11.channel[c], column, row);
    }
    return result;
}

// One thread per pixel of the padded image; a block works on one image.
template <class T>
__global__ void preprocess_kernel(const DeviceImage* images, PreprocessParams params, T* out) {
    const int x = static_cast<int>(blockIdx.x * kBlockWidth + threadIdx.x);
    const int y = static_cast<int>(blockIdx.y * kBlockHeight + threadIdx.y);
    if (x >= params.padded_width || y >= params.padded_height) return;
    const DeviceImage image = images[blockIdx.z];
    const bool inside = x < image.resized_width && y < image.resized_height;
    Pixel pixel{};
    if (inside) {
        const ResizeTap column = image.column_taps[x], row = image.row_taps[y];
        pixel = image.chroma == nullptr ? resized_pixel<false>(image, column, row)
                                        : resized_pixel<true>(image, column, row);
    }
    const std::size_t plane = static_cast<std::size_t>(params.padded_height) * params.padded_width;
    const std::size_t at = static_cast<std::size_t>(y) * params.padded_width + x;
    T* const of_image = out + 3 * plane * blockIdx.z;
    for (int c = 0; c < 3; ++c) {
        const int value = pixel.channel[params.swap_red_blue ? 2 - c : c];
        const float normalized =
            multiply_add(static_cast<float>(value), params.scale[c], params.bias[c]);
        of_image[c * plane + at] = from_float<T>(inside ? normalized : 0.f);
    }
}

template <class T>
void launch(const DeviceImage* images, const PreprocessParams& params, T* out, Stream stream) {
    const dim3 grid(ceil_div(params.padded_width, kBlockWidth),
                    ceil_div(params.padded_height, kBlockHeight), params.num_images);
    const dim3 block(kBlockWidth, kBlockHeight);
    DBNET_LAUNCH((preprocess_kernel<T>), grid, block, stream, images, params, out);
    check_launch("preprocess");
}

}  // namespace

void preprocess(const DeviceImage* images, const PreprocessParams& params, void* out,
                Stream stream) {
    if (params.out_is_half) {
        launch(images, params, static_cast<Half*>(out), stream);
    } else {
        launch(images, params, static_cast<float*>(out), stream);
    }
}

}  // namespace dbnet
