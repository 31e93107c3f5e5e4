// The floor: Hyperscan alone, one streaming database for each buffer with every content and every
// regex of a rule file, as a program would use it that does nothing else.
#pragma once

#include <hs/hs.h>

#include <memory>
#include <string>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/base/result.h"

namespace sluice::perf {

class RawScan {
 public:
  // Rules as gen_rules.py writes them (contents without hexadecimal, `file_data` or the stream).
  static Result<std::unique_ptr<RawScan>> compile(const std::string& rules_file);
  ~RawScan();
  RawScan(const RawScan&) = delete;
  RawScan& operator=(const RawScan&) = delete;

  static constexpr std::size_t kStream = 0;
  static constexpr std::size_t kDecoded = 1;
  static constexpr std::size_t kBuffers = 2;

  // Scans one stream, in chunks of 1,460 octets; how often something was found.
  std::size_t scan(std::size_t buffer, Bytes octets);
  std::size_t patterns() const { return patterns_; }

 private:
  RawScan() = default;
  hs_database_t* databases_[kBuffers]{};
  hs_stream_t* streams_[kBuffers]{};
  hs_scratch_t* scratch_ = nullptr;
  std::size_t patterns_ = 0;
};

}  // namespace sluice::perf
