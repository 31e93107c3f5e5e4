// The generated FlatBuffers accessors of policy_image.fbs, which are not free of warnings.
#pragma once

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include "dataplane/contract/policy_image_generated.h"  // IWYU pragma: export
#pragma GCC diagnostic pop
