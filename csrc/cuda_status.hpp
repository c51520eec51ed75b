// SPDX-License-Identifier: Apache-2.0
//
// What this build and this machine have of CUDA. Creates no context, so no GPU's memory is used.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace dbnet {

/// A GPU that the driver shows to this process.
struct CudaDevice {
    std::string name;
    int major, minor;  // compute capability
    std::size_t num_bytes;
};

/// CUDA in the build and on the machine. Versions are 1000 * major + 10 * minor, 0 for none.
struct CudaStatus {
    std::string architectures;  // in the build, as CMake has them: "75-real,90-real,120"
    int runtime = 0;            // version that the build is of
    int driver = 0;             // latest version that the driver runs
    std::string failure;        // why the devices cannot be listed, "" if they can
    std::vector<CudaDevice> devices;
};

/// Look at the build and the machine.
CudaStatus cuda_status();

}  // namespace dbnet
