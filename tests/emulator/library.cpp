// SPDX-License-Identifier: Apache-2.0
//
// The kernels, compiled for the emulator, behind C functions for ctypes. A function returns an
// empty string, or what went wrong.
#include <string>

#include "kernels/preprocess.cu"
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

}  // namespace

extern "C" {

void emulator_configure(unsigned long long seed, int resident_blocks, int yield_one_in,
                        int check_races) {
    emulator::machine.options = {seed, resident_blocks, yield_one_in, check_races != 0};
    emulator::machine.num_races = 0;
    emulator::machine.first_race.clear();
}

const char* emulator_first_race() { return emulator::machine.first_race.c_str(); }

const char* run_fault(const char* name, unsigned* out) {
    return guarded([&] { faults::run(name, out); });
}

const char* run_preprocess(const unsigned char* pixels, const unsigned char* chroma, int pitch,
                           int chroma_pitch, int height, int width, int resized_height,
                           int resized_width, int padded_height, int padded_width,
                           const float* scale, const float* bias, int swap_red_blue, int half,
                           void* out) {
    return guarded([&] {
        const auto columns = dbnet::make_taps(resized_width, width, dbnet::Axis::kColumns);
        const auto rows = dbnet::make_taps(resized_height, height, dbnet::Axis::kRows);
        const dbnet::PreprocessParams params{columns.data(),
                                             rows.data(),
                                             resized_height,
                                             resized_width,
                                             padded_height,
                                             padded_width,
                                             {scale[0], scale[1], scale[2]},
                                             {bias[0], bias[1], bias[2]},
                                             swap_red_blue != 0};
        const dbnet::DeviceImage image{pixels, chroma, pitch, chroma_pitch};
        if (half) {
            dbnet::preprocess_half(image, params, out, nullptr);
        } else {
            dbnet::preprocess(image, params, static_cast<float*>(out), nullptr);
        }
    });
}
}
