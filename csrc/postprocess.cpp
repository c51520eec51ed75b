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

double sum_span(const std::uint8_t* row, RowSpan span, bool) {
    std::int64_t sum = 0;
    for (int x = span.begin; x < span.end; ++x) sum += row[x];
    return static_cast<double>(sum) / 255;
}

float to_probability(std::uint8_t value, bool) { return static_cast<float>(value) / 255; }

/// A sum of probabilities and the number of its pixels.
struct Total {
    double sum = 0;
    std::int64_t count = 0;

    void add(double sum_of_span, RowSpan span) {
        sum += sum_of_span;
        count += span.end - span.begin;
    }
    float mean() const { return count > 0 ? static_cast<float>(sum / double(count)) : 0.f; }
};

// Mean probability inside each quad, from its pixels.
template <class Value>
std::vector<float> score_one_by_one(const MapView<Value>& map, bool logits,
                                    const std::vector<Candidate>& candidates) {
    std::vector<float> scores;
    FilledQuad filled;
    for (const Candidate& candidate : candidates) {
        fill_quad(candidate.quad, map.height, map.width, filled);
        Total total;
        int y = filled.y;
        for (const RowSpan span : filled.spans) {
            if (span.end > span.begin) total.add(sum_span(map.row(y), span, logits), span);
            ++y;
        }
        scores.push_back(total.mean());
    }
    return scores;
}

// The same row by row, with running sums: each pixel is read once, however many quads it lies in.
template <class Value>
std::vector<float> score_by_rows(const MapView<Value>& map, bool logits,
                                 const std::vector<Candidate>& candidates) {
    std::vector<FilledQuad> filled(candidates.size());
    std::vector<std::size_t> by_top(candidates.size()), crossed;  // crossed: by the current row
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        fill_quad(candidates[i].quad, map.height, map.width, filled[i]);
        by_top[i] = i;
    }
    std::stable_sort(by_top.begin(), by_top.end(),
                     [&](std::size_t a, std::size_t b) { return filled[a].y < filled[b].y; });
    std::vector<Total> totals(candidates.size());
    std::vector<double> running(map.width + std::size_t{1});
    auto next = by_top.begin();
    for (int y = 0; y < map.height; ++y) {
        while (next != by_top.end() && filled[*next].y == y) crossed.push_back(*next++);
        if (crossed.empty()) continue;
        for (int x = 0; x < map.width; ++x) {
            running[x + 1] = running[x] + to_probability(map.row(y)[x], logits);
        }
        std::erase_if(crossed, [&](std::size_t i) {
            const RowSpan span = filled[i].spans[y - filled[i].y];
            if (span.end > span.begin) {
                totals[i].add(running[span.end] - running[span.begin], span);
            }
            return filled[i].y + static_cast<int>(filled[i].spans.size()) == y + 1;
        });
    }
    std::vector<float> scores;
    for (const Total& total : totals) scores.push_back(total.mean());
    return scores;
}

// Mean probability inside each quad: by rows where they overlap so much (rings inside rings) that
// this is faster.
template <class Value>
std::vector<float> score(const MapView<Value>& map, bool logits,
                         const std::vector<Candidate>& candidates) {
    double area = 0;
    for (const Candidate& candidate : candidates) area += candidate.rectangle.area();
    const bool overlap = area > 4. * map.height * map.width;
    return overlap ? score_by_rows(map, logits, candidates)
                   : score_one_by_one(map, logits, candidates);
}

std::vector<Candidate> find_candidates(const Components& components, float min_side) {
    std::vector<Candidate> candidates;
    std::vector<PixelPoint> hull;
    const double min_area = static_cast<double>(min_side) * min_side;
    for (std::size_t i = 0; i < components.size(); ++i) {
        const auto component = components[i];
        int left = component.front().begin, right = 0;
        for (const Run& run : component) {
            left = std::min(left, run.begin);
            right = std::max(right, run.end - 1);
        }
        // The min-area rectangle is no larger than the upright one: this drops most specks.
        const double rows = component.back().y - component.front().y;
        if (rows * (right - left) < min_area) continue;
        convex_hull(component, hull);
        const Rectangle rectangle = min_area_rectangle(hull);
        if (rectangle.short_side() < min_side || !(rectangle.area() > 0)) continue;
        candidates.push_back({rectangle, rectangle.corners()});
    }
    return candidates;
}

// D' = A' r' / L', for area A', perimeter L', ratio r'.
double unclip_distance(const Rectangle& rectangle, double unclip_ratio) {
    return rectangle.area() * unclip_ratio / (2 * (rectangle.length() + rectangle.breadth()));
}

template <class Value>
std::vector<ScoredQuad> to_quads(const MapView<Value>& map, const Components& components,
                                 const PostprocessParams& params) {
    constexpr float kMinSideGain = 2.f;  // as in the original code: 3 before unclipping, 5 after
    const std::vector<Candidate> candidates = find_candidates(components, params.min_side);
    const std::vector<float> scores = score(map, params.logits, candidates);
    std::vector<ScoredQuad> quads;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        if (scores[i] < params.score_threshold) continue;
        const Rectangle& rectangle = candidates[i].rectangle;
        const Rectangle unclipped =
            rectangle.grown(unclip_distance(rectangle, params.unclip_ratio));
        if (unclipped.short_side() < params.min_side + kMinSideGain) continue;
        quads.push_back({ordered(unclipped.corners()), scores[i]});
    }
    std::stable_sort(quads.begin(), quads.end(),
                     [](const ScoredQuad& a, const ScoredQuad& b) { return a.score > b.score; });
    if (quads.size() > static_cast<std::size_t>(params.max_candidates)) {
        quads.resize(params.max_candidates);
    }
    return quads;
}

}  // namespace

float map_threshold(float binary_threshold, bool logits) {
    if (!logits) return binary_threshold;
    return std::log(binary_threshold / (1.f - binary_threshold));  // -inf for 0, inf for 1
}

std::uint8_t byte_threshold(float binary_threshold) {
    return static_cast<std::uint8_t>(std::clamp(std::floor(255 * binary_threshold), 0.f, 255.f));
}

std::vector<ScoredQuad> postprocess(const FloatMap& map, const PostprocessParams& params) {
    const float threshold = map_threshold(params.binary_threshold, params.logits);
    return to_quads(map, find_components(map, threshold), params);
}

std::vector<ScoredQuad> postprocess(const ByteMap& map, const PostprocessParams& params) {
    return to_quads(map, find_components(map, byte_threshold(params.binary_threshold)), params);
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
