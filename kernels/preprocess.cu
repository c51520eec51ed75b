// SPDX-License-Identifier: Apache-2.0
//
// Resize, normalise and pad a batch in one launch. One thread computes two neighbouring pixels of a
// row of the network's input, all three channels; threads are independent. For a pixel it writes 12
// or 6 bytes and reads four source pixels, mostly from the cache. Instruction counts, 98 of PTX per
// pixel (tests/ptx/counts.py), suggest that it is bound by instruction issue rather than memory;
// not measured on a GPU.
#include "kernels/portable.hpp"
#include "kernels/preprocess.hpp"

namespace dbnet {
namespace {

// 32 x 8: a warp is 64 pixels of a row, so that its writes to each plane are contiguous and share
// the row's tap; the 8 rows of a block read overlapping source rows from the cache. More pixels for
// a thread would be fewer instructions, but on a large GPU longer waits for memory. Not measured on
// a GPU.
constexpr unsigned kBlockWidth = 32, kBlockHeight = 8;
constexpr int kPixelsPerThread = 2;

/// The channels of one pixel.
struct Pixel {
    int channel[3];  // blue, green, red
};

__device__ __forceinline__ int to_byte(int value) {
    return value < 0 ? 0 : value > 255 ? 255 : value;
}

/// A pixel of a BGR image in memory.
struct Bgr {
    std::uint8_t blue, green, red;
};

/// The chroma of two pixels of an NV12 image in memory.
struct Chroma {
    std::uint8_t u, v;
};

template <class T>
__device__ __forceinline__ const T* row_at(const std::uint8_t* plane, int pitch, int y) {
    return reinterpret_cast<const T*>(to_global(plane) + static_cast<std::ptrdiff_t>(y) * pitch);
}

/// A row of a BGR image.
struct BgrRow {
    const Bgr* pixels;

    __device__ __forceinline__ BgrRow(const DeviceImage& image, int y)
        : pixels(row_at<Bgr>(image.pixels, image.pitch, y)) {}

    __device__ __forceinline__ Pixel at(int x) const {
        const auto& [blue, green, red] = pixels[x];
        return {{blue, green, red}};
    }
};

/// A row of an NV12 image.
struct Nv12Row {
    const std::uint8_t* luma;
    const Chroma* chroma;
    const YuvColors& colors;

    __device__ __forceinline__ Nv12Row(const DeviceImage& image, int y)
        : luma(row_at<std::uint8_t>(image.pixels, image.pitch, y)),
          chroma(row_at<Chroma>(image.chroma, image.chroma_pitch, y >> 1)),
          colors(image.colors) {}

    // In 20-bit fixed point, as OpenCV's COLOR_YUV2BGR_NV12.
    __device__ __forceinline__ Pixel at(int x) const {
        constexpr int kShift = 20, kHalf = 1 << (kShift - 1);
        const int u = chroma[x >> 1].u - 128, v = chroma[x >> 1].v - 128;
        const int above_black = luma[x] - colors.black;
        const int base = (above_black > 0 ? above_black : 0) * colors.luma + kHalf;
        return {{to_byte((base + colors.blue_u * u) >> kShift),
                 to_byte((base + colors.green_v * v + colors.green_u * u) >> kShift),
                 to_byte((base + colors.red_v * v) >> kShift)}};
    }
};

// OpenCV's rounding: 11-bit weights across, keeping 15 bits, then down to 8. With the two products
// a and b that is ((a >> 16) + (b >> 16) + 2) >> 2, here in fewer instructions: where the lower
// half of a is zero, that of b carries nothing, and the last shift drops it. Weights are not
// negative and add up to 2048, or by rounding to 2049 at most: the result is a byte.
__device__ __forceinline__ int blend(int p00, int p01, int p10, int p11, const ResizeTap& column,
                                     const ResizeTap& row) {
    constexpr int kLowerHalf = 0xFFFF;
    const int upper = (p00 * column.first_weight + p01 * column.second_weight) >> 4;
    const int lower = (p10 * column.first_weight + p11 * column.second_weight) >> 4;
    const int a = (upper * row.first_weight + (2 << 16)) & ~kLowerHalf;
    return (a + lower * row.second_weight) >> 18;
}

/// Values of neighbouring pixels, which are written at once.
template <class T>
struct alignas(kPixelsPerThread * sizeof(T)) Pack {
    T values[kPixelsPerThread];
};

/// The network's input.
template <class T>
struct Output {
    /// What becomes of a channel of the source, and where it goes.
    struct Channel {
        float scale, bias;
        T* plane;  // of the first image
    };
    Channel channels[3];
    std::ptrdiff_t image_stride;  // in values
    int height, width;
};

// Resizes and normalises the pixels of a row from column x on, for each channel. The taps of an odd
// number of columns have a spare one.
template <class Row, class T>
__device__ __forceinline__ void set_pixels(const DeviceImage& image, int x, int y,
                                           const Output<T>& out, Pack<T> (&channels)[3]) {
    const ResizeTap row = to_global(image.row_taps)[y];
    const Row upper(image, row.first), lower(image, row.second);
    for (int k = 0; k < kPixelsPerThread; ++k) {
        const ResizeTap column = to_global(image.column_taps)[x + k];
        const Pixel p00 = upper.at(column.first), p01 = upper.at(column.second);
        const Pixel p10 = lower.at(column.first), p11 = lower.at(column.second);
        for (int c = 0; c < 3; ++c) {
            const int value =
                blend(p00.channel[c], p01.channel[c], p10.channel[c], p11.channel[c], column, row);
            const auto& [scale, bias, plane] = out.channels[c];
            channels[c].values[k] =
                from_float<T>(multiply_add(static_cast<float>(value), scale, bias));
        }
    }
}

template <class T>
__device__ __forceinline__ void write_pixels(const Output<T>& out, int x, int y,
                                             const Pack<T> (&channels)[3]) {
    const std::ptrdiff_t at =
        blockIdx.z * out.image_stride + static_cast<std::ptrdiff_t>(y) * out.width + x;
    for (int c = 0; c < 3; ++c) {
        *reinterpret_cast<Pack<T>*>(out.channels[c].plane + at) = channels[c];
    }
}

// A block works on one image.
template <class T>
__global__ void preprocess_kernel(const DeviceImage* images, Output<T> out) {
    const int x = static_cast<int>(blockIdx.x * kBlockWidth + threadIdx.x) * kPixelsPerThread;
    const int y = static_cast<int>(blockIdx.y * kBlockHeight + threadIdx.y);
    if (x >= out.width || y >= out.height) return;
    const DeviceImage image = images[blockIdx.z];  // a copy, which few reads fetch at once
    Pack<T> channels[3] = {};
    if (y >= image.resized_height || x >= image.resized_width) {
        write_pixels(out, x, y, channels);
        return;
    }
    if (image.chroma == nullptr) {
        set_pixels<BgrRow>(image, x, y, out, channels);
    } else {
        set_pixels<Nv12Row>(image, x, y, out, channels);
    }
    if (x + 1 == image.resized_width) {  // the second pixel is outside
        for (Pack<T>& channel : channels) channel.values[1] = from_float<T>(0.f);
    }
    write_pixels(out, x, y, channels);
}

template <class T>
void launch(const DeviceImage* images, const PreprocessParams& params, T* out, Stream stream) {
    const dim3 grid(ceil_div(params.padded_width, kBlockWidth * kPixelsPerThread),
                    ceil_div(params.padded_height, kBlockHeight), params.num_images);
    const dim3 block(kBlockWidth, kBlockHeight);
    const std::ptrdiff_t plane =
        static_cast<std::ptrdiff_t>(params.padded_height) * params.padded_width;
    Output<T> output{{}, 3 * plane, params.padded_height, params.padded_width};
    for (int c = 0; c < 3; ++c) {
        const int channel = params.swap_red_blue ? 2 - c : c;
        output.channels[c] = {params.scale[channel], params.bias[channel], out + channel * plane};
    }
    DBNET_LAUNCH(preprocess_kernel<T>, grid, block, stream, images, output);
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
