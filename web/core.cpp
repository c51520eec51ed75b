// SPDX-License-Identifier: Apache-2.0
//
// The core as C functions for WebAssembly: one image at a time, its pixels in and its outlines out.
// A pointer is valid until its buffer's next resize; growing memory detaches JavaScript's views.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "csrc/postprocess.hpp"
#include "csrc/preprocess.hpp"

namespace {

std::vector<std::uint8_t> pixels;  // (height, width, 4) RGBA, then in its front (.., 3) BGR
std::vector<float> input;          // (3, height, width)
std::vector<float> prob_map;       // (height, width)
std::vector<dbnet::ScoredQuad> quads;

constexpr int kOpaque = 255;

// Gray that differs most from the visible pixels, as images/alpha.py chooses it.
int choose_ground() {
    constexpr int kEnoughContrast = 96;
    std::array<double, 256> visible{};
    for (std::size_t i = 0; i < pixels.size(); i += 4) {
        const float luma = .299f * pixels[i] + .587f * pixels[i + 1] + .114f * pixels[i + 2];
        visible[static_cast<std::uint8_t>(luma)] += pixels[i + 3];
    }
    int best = 0;
    double best_value = -1;
    for (int gray = 0; gray < 256; ++gray) {
        double value = 0;
        for (int other = 0; other < 256; ++other) {
            const int distance = std::abs(gray - other);
            value += (std::min(distance, kEnoughContrast) + distance / 1000.) * visible[other];
        }
        if (value > best_value) best = gray, best_value = value;
    }
    return best;
}

bool has_alpha() {
    for (std::size_t i = 3; i < pixels.size(); i += 4) {
        if (pixels[i] != pixels[3]) return true;
    }
    return false;
}

}  // namespace

extern "C" {

/// Make room for an image's pixels, (height, width, 4) RGBA, and return where they go.
std::uint8_t* resize_pixels(int height, int width) {
    pixels.resize(4 * static_cast<std::size_t>(height) * width);
    return pixels.data();
}

/// Turn the pixels to BGR; transparent ones come on a ground that contrasts with the others.
void to_bgr() {
    const bool blend = has_alpha();
    const int ground = blend ? choose_ground() : 0;
    for (std::size_t i = 0, o = 0; i < pixels.size(); i += 4, o += 3) {
        const int alpha = blend ? pixels[i + 3] : kOpaque;
        const std::array<int, 3> bgr{pixels[i + 2], pixels[i + 1], pixels[i]};
        for (int c = 0; c < 3; ++c) {
            const int sum = bgr[c] * alpha + ground * (kOpaque - alpha);
            pixels[o + c] = static_cast<std::uint8_t>((sum + kOpaque / 2) / kOpaque);
        }
    }
}

/// Make the network's input of the BGR image, and return it: (3, padded_height, padded_width).
float* make_input(int height, int width, int resized_height, int resized_width, int padded_height,
                  int padded_width, float scale_0, float scale_1, float scale_2, float bias_0,
                  float bias_1, float bias_2, bool swap_red_blue) {
    input.resize(3 * static_cast<std::size_t>(padded_height) * padded_width);
    const std::ptrdiff_t pitch = 3 * static_cast<std::ptrdiff_t>(width);
    dbnet::preprocess({pixels.data(), height, width, pitch}, {resized_height, resized_width},
                      {padded_height, padded_width},
                      {{scale_0, scale_1, scale_2}, {bias_0, bias_1, bias_2}, swap_red_blue},
                      input.data());
    pixels = {};
    return input.data();
}

/// Make room for the network's output, (height, width) float32, and return where it goes.
float* resize_map(int height, int width) {
    input = {};
    prob_map.resize(static_cast<std::size_t>(height) * width);
    return prob_map.data();
}

/// Find the text in the map's first `height` rows and `width` columns, which show an image of size
/// `image_height`, `image_width`; `pitch` values lie from one row to the next. Returns the number
/// of outlines.
int find_text(int height, int width, int pitch, int image_height, int image_width,
              float binary_threshold, float score_threshold, float unclip_ratio, int max_candidates,
              float min_side, bool logits) {
    const dbnet::FloatMap map{prob_map.data(), height, width, pitch};
    quads = dbnet::postprocess(
        map, {binary_threshold, score_threshold, unclip_ratio, max_candidates, min_side, logits});
    dbnet::to_image(quads, {height, width}, {image_height, image_width});
    return static_cast<int>(quads.size());
}

/// The outlines that `find_text` found, best score first: 4 corners (x, y) in pixels of the image,
/// then the score, 9 float32 each.
const float* found_text() {
    static_assert(sizeof(dbnet::ScoredQuad) == 9 * sizeof(float));
    return reinterpret_cast<const float*>(quads.data());
}

}  // extern "C"
