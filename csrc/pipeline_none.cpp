// SPDX-License-Identifier: Apache-2.0
#include "csrc/errors.hpp"
#include "csrc/pipeline.hpp"

namespace dbnet {

bool cuda_available() noexcept { return false; }

std::unique_ptr<Pipeline> make_pipeline(const PipelineConfig&, Network) {
    throw EngineError(
        "this build has no CUDA code; install the CUDA toolkit (nvcc) and run "
        "`DBNET_TRT_CUDA=ON pip install .`, or use device=\"cpu\"");
}

}  // namespace dbnet
