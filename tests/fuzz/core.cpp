// SPDX-License-Identifier: Apache-2.0
// Harness of libFuzzer for the C++ core: any map, image and outline gives finite results inside the
// image, and breaks no memory. Built and run by core.sh.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "csrc/postprocess.hpp"
#include "csrc/preprocess.hpp"
#include "csrc/targets.hpp"

namespace {

constexpr int kMaxSide = 128;

// The bytes of the fuzzer, as numbers; zeros when they have run out.
class Source {
public:
    Source(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}

    template <typename Number>
    Number take() {
        Number number{};
        const std::size_t count = left_ < sizeof number ? left_ : sizeof number;
        std::memcpy(&number, data_, count);
        data_ += count;
        left_ -= count;
        return number;
    }

    int side() { return 1 + take<std::uint8_t>() % kMaxSide; }

    std::size_t left() const { return left_; }

private:
    const std::uint8_t* data_;
    std::size_t left_;
};

void check(bool holds) {
    if (!holds) std::abort();
}

// Any float is a probability or a logit; parameters are those that Python lets through.
void fuzz_postprocess(Source& source) {
    const int height = source.side(), width = source.side();
    dbnet::PostprocessParams params{};
    params.binary_threshold = static_cast<float>(source.take<std::uint8_t>()) / 255;
    params.score_threshold = static_cast<float>(source.take<std::uint8_t>()) / 255;
    params.unclip_ratio = static_cast<float>(source.take<std::uint16_t>() % 1001);
    params.max_candidates = 1 + source.take<std::uint8_t>();
    params.min_side = static_cast<float>(source.take<std::uint8_t>() % 8);
    params.logits = source.take<std::uint8_t>() % 2 != 0;
    const bool is_exact = source.take<std::uint8_t>() % 2 != 0;
    std::vector<float> values(static_cast<std::size_t>(height) * width);
    for (float& value : values) {
        value =
            is_exact ? source.take<float>() : static_cast<float>(source.take<std::uint8_t>()) / 255;
    }
    auto quads = dbnet::postprocess({values.data(), height, width, width}, params);
    check(quads.size() <= static_cast<std::size_t>(params.max_candidates));
    dbnet::to_image(quads, {height, width}, {2 * height, 3 * width});
    for (const auto& [quad, score] : quads) {
        check(score >= 0 && score <= 1);
        for (const auto& point : quad) {
            check(std::isfinite(point.x) && std::isfinite(point.y));
            check(point.x >= 0 && point.x <= static_cast<float>(3 * width));
            check(point.y >= 0 && point.y <= static_cast<float>(2 * height));
        }
    }
}

void fuzz_preprocess(Source& source) {
    const int height = source.side(), width = source.side();
    const dbnet::Size resized{source.side(), source.side()};
    const dbnet::Size padded{(resized.height + 31) / 32 * 32, (resized.width + 31) / 32 * 32};
    const dbnet::Normalization normalization{
        {1 / 255.0f, 1 / 255.0f, 1 / 255.0f}, {0, 0, 0}, source.take<std::uint8_t>() % 2 != 0};
    const int pitch = 3 * width + source.take<std::uint8_t>() % 16;
    std::vector<std::uint8_t> image(static_cast<std::size_t>(height) * pitch);
    for (auto& value : image) value = source.take<std::uint8_t>();
    std::vector<float> out(3UL * padded.height * padded.width);
    dbnet::preprocess({image.data(), height, width, pitch}, resized, padded, normalization,
                      out.data());
    for (const float value : out) check(value >= 0 && value <= 1.001f);
}

// Corners are any numbers up to the limit of the readers, 1e9, most of them in or near the image.
void fuzz_targets(Source& source) {
    const dbnet::Size size{source.side(), source.side()};
    const dbnet::TargetParams params{(1 + source.take<std::uint8_t>() % 99) / 100.0, 0.3, 0.7,
                                     static_cast<double>(source.take<std::uint8_t>() % 4)};
    std::vector<std::vector<dbnet::Corner>> corners;
    std::vector<dbnet::Outline> outlines;
    while (source.left() > 0 && corners.size() < 16) {
        const double unit = source.take<std::uint8_t>() % 8 == 0 ? 3e4 : 1.0 / 128;
        auto& outline = corners.emplace_back(3 + source.take<std::uint8_t>() % 14);
        for (auto& [x, y] : outline) {
            x = source.take<std::int16_t>() * unit;
            y = source.take<std::int16_t>() * unit;
        }
    }
    for (const auto& each : corners) outlines.push_back({each, each.size() % 5 == 0});
    const std::size_t num_pixels = static_cast<std::size_t>(size.height) * size.width;
    std::vector<float> maps(4 * num_pixels);
    float* map = maps.data();
    dbnet::draw_targets(outlines, size, params,
                        {map, map + num_pixels, map + 2 * num_pixels, map + 3 * num_pixels});
    for (const float value : maps) check(value >= 0 && value <= 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Source source(data, size);
    switch (source.take<std::uint8_t>() % 3) {
        case 0:
            fuzz_postprocess(source);
            break;
        case 1:
            fuzz_preprocess(source);
            break;
        default:
            fuzz_targets(source);
    }
    return 0;
}
