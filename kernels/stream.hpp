// SPDX-License-Identifier: Apache-2.0
#pragma once

#if defined(DBNET_EMULATOR)
namespace dbnet {
using Stream = void*;
}
#else
#include <cuda_runtime_api.h>
namespace dbnet {
using Stream = cudaStream_t;
}
#endif
