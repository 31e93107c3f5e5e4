// Where a stage of the part pipeline puts its output: the next stage. Calls nest as deep as the
// pipeline is long; views are valid during the call only.
#pragma once

#include "dataplane/base/bytes.h"

namespace sluice::mime {

class OctetSink {
 public:
  virtual void take(Bytes octets) = 0;

 protected:
  ~OctetSink() = default;
};

}  // namespace sluice::mime
