// SPDX-License-Identifier: Apache-2.0
#include "csrc/postprocess.hpp"

#include <algorithm>
#include <cmath>

#include "csrc/cpu_features.hpp"

namespace dbnet {
namespace {

/// The rectangle of a component that passed the size filter, and the quad that it is scored over.
struct Candidate {
    Rectangle rectangle;
    Quad quad;
};

float to_probability(float value, bool logits) {
    if (logits) value = 1.f / (1.f + std::exp(-value));
    return value > 0.f ? (value < 1.f ? value : 1.f) : 0.f;  // NaN is 0
}

// Sum of the values, each clipped to [0, 1], NaN as 0.
double sum_clipped(const float* values, int count) {
    double sum = 0;
    for (int i = 0; i < count; ++i) sum += to_probability(values[i], false);
    return sum;
}

#if defined(DBNET_HAS_AVX2_CODE)
DBNET_AVX2 double sum_clipped_avx2(const float* values, int count) {
    constexpr int kSums = 8;  // floats per register
    const __m256 zero = _mm256_setzero_ps(), one = _mm256_set1_ps(1.f);
    __m256 sums[2] = {zero, zero};
    int i = 0;
    for (; i + 2 * kSums <= count; i += 2 * kSums) {
        for (int k = 0; k < 2; ++k) {  // max returns its second operand for NaN
            const __m256 value = _mm256_loadu_ps(values + i + k * kSums);
            sums[k] = _mm256_add_ps(sums[k], _mm256_min_ps(_mm256_max_ps(value, zero), one));
        }
    }
    float lanes[kSums];
    _mm256_storeu_ps(lanes, _mm256_add_ps(sums[0], sums[1]));
    double sum = sum_clipped(values + i, count - i);
    for (const float lane : lanes) sum += lane;
    return sum;
}
#endif

double sum_span(const float* row, RowSpan span, bool logits) {
    const float* values = row + span.begin;
    const int count = span.end - span.begin;
    if (logits) {
        double sum = 0;
        for (int i = 0; i < count; ++i) sum += to_probability(values[i], true);
        return sum;
    }
#if defined(DBNET_HAS_AVX2_CODE)
    if (cpu_has_avx2()) return sum_clipped_avx2(values, count);
#endif
    return sum_clipped(values, count);
}

/// Sum of probabilities over a span of a row: directly from the map, or as a difference of running
/// sums where the candidates overlap so much (rings inside rings) that this is faster.
class SpanSums {
public:
    SpanSums(const MapView& map, bool logits, const std::vector<Candidate>& candidates)
        : map_(map), logits_(logits) {
        double area = 0;
        for (const Candidate& candidate : candidates) area += candidate.rectangle.area();
        if (area > 4. * map.height * map.width) accumulate();
    }

    double operator()(int y, RowSpan span) const {
        if (running_.empty()) return sum_span(map_.row(y), span, logits_);
        const double* row = running_.data() + y * (map_.width + std::size_t{1});
        return row[span.end] - row[span.begin];
    }

private:
    void accumulate() {
        running_.resize(map_.height * (map_.width + std::size_t{1}));
        double* out = running_.data();
        for (int y = 0; y < map_.height; ++y) {
            const float* row = map_.row(y);
            double sum = 0;
            *out++ = 0;
            for (int x = 0; x < map_.width; ++x) {
                sum += to_probability(row[x], logits_);
                *out++ = sum;
            }
        }
    }

    MapView map_;
    bool logits_;
    std::vector<double> running_;  // (height, width + 1)
};

std::vector<Candidate> find_candidates(const MapView& map, const PostprocessParams& params) {
    const Components components =
        find_components(map, map_threshold(params.binary_threshold, params.logits));
    std::vector<Candidate> candidates;
    std::vector<PixelPoint> hull;
    const double min_area = static_cast<double>(params.min_side) * params.min_side;
    for (std::size_t i = 0; i < components.size(); ++i) {
        const auto component = components[i];
        int left = map.width, right = 0;
        for (const Run& run : component) {
            left = std::min(left, run.begin);
            right = std::max(right, run.end - 1);
        }
        // The min-area rectangle is no larger than the upright one: this drops most specks.
        const double rows = component.back().y - component.front().y;
        if (rows * (right - left) < min_area) continue;
        convex_hull(component, hull);
        const Rectangle rectangle = min_area_rectangle(hull);
        if (rectangle.short_side() < params.min_side || !(rectangle.area() > 0)) continue;
        candidates.push_back({rectangle, rectangle.corners()});
    }
    return candidates;
}

float mean_probability(const FilledQuad& filled, const SpanSums& sum) {
    double total = 0;
    std::int64_t count = 0;
    int y = filled.y;
    for (const RowSpan span : filled.spans) {
        if (span.end > span.begin) {
            total += sum(y, span);
            count += span.end - span.begin;
        }
        ++y;
    }
    return count > 0 ? static_cast<float>(total / static_cast<double>(count)) : 0.f;
}

// D' = A' r' / L', for area A', perimeter L', ratio r'.
double unclip_distance(const Rectangle& rectangle, double unclip_ratio) {
    return rectangle.area() * unclip_ratio / (2 * (rectangle.length() + rectangle.breadth()));
}

}  // namespace

float map_threshold(float binary_threshold, bool logits) {
    if (!logits) return binary_threshold;
    return std::log(binary_threshold / (1.f - binary_threshold));  // -inf for 0, inf for 1
}

std::vector<ScoredQuad> postprocess(const MapView& map, const PostprocessParams& params) {
    constexpr float kMinSideGain = 2.f;  // as in the original code: 3 before unclipping, 5 after
    const std::vector<Candidate> candidates = find_candidates(map, params);
    const SpanSums sum(map, params.logits, candidates);
    std::vector<ScoredQuad> quads;
    FilledQuad filled;
    for (const Candidate& candidate : candidates) {
        fill_quad(candidate.quad, map.height, map.width, filled);
        const float score = mean_probability(filled, sum);
        if (score < params.score_threshold) continue;
        const double distance = unclip_distance(candidate.rectangle, params.unclip_ratio);
        const Rectangle unclipped = candidate.rectangle.grown(distance);
        if (unclipped.short_side() < params.min_side + kMinSideGain) continue;
        quads.push_back({ordered(unclipped.corners()), score});
    }
    std::stable_sort(quads.begin(), quads.end(),
                     [](const ScoredQuad& a, const ScoredQuad& b) { return a.score > b.score; });
    if (quads.size() > static_cast<std::size_t>(params.max_candidates)) {
        quads.resize(params.max_candidates);
    }
    return quads;
}

void to_image(std::vector<ScoredQuad>& quads, std::pair<int, int> map, std::pair<int, int> image) {
    const auto [height, width] = image;
    const auto scale_x = static_cast<float>(static_cast<double>(width) / map.second);
    const auto scale_y = static_cast<float>(static_cast<double>(height) / map.first);
    const auto x_max = static_cast<float>(width - 1), y_max = static_cast<float>(height - 1);
    for (ScoredQuad& scored : quads) {
        for (Point& point : scored.quad) {
            point.x = std::min(std::max(point.x * scale_x, 0.f), x_max);
            point.y = std::min(std::max(point.y * scale_y, 0.f), y_max);
        }
    }
}

}  // namespace dbnet
