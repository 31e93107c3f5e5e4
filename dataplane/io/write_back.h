// From the one piece in which a frame was read back into its buffers.
#pragma once

#include "dataplane/base/bytes.h"

struct rte_mbuf;

namespace sluice::io {

// Makes `octets`, which were changed, the content of `frame`. Of one buffer they are a part of it
// (cut at either end, changed in place); of several a copy, no longer than the frame was.
void write_back(rte_mbuf* frame, Bytes octets);

}  // namespace sluice::io
