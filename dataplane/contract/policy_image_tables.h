// The generated FlatBuffers accessors of policy_image.fbs, which are not free of warnings.
#pragma once
#pragma GCC system_header

#include "dataplane/contract/policy_image_generated.h"  // IWYU pragma: export
