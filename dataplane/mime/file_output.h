// What is done with the octets of a file, whatever it was encoded in: counted, its type told by its
// first octets, hashed when wanted, given to the sink.
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/mime/archive.h"
#include "dataplane/mime/context.h"
#include "dataplane/mime/magic.h"

struct evp_md_ctx_st;

namespace sluice::mime {

class Digest {
 public:
  enum class Algorithm : std::uint8_t { md5, sha256 };
  Digest() = default;
  ~Digest();
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;
  void begin(Algorithm algorithm);
  void feed(Bytes octets);
  // Writes the digest (16 or 32 octets) when begun; whether it did.
  bool finish(MutableBytes out);

 private:
  evp_md_ctx_st* context_ = nullptr;
};

class FileOutput {
 public:
  struct Plan {
    PartNumber part = 0;
    std::uint32_t depth = 0;
    std::optional<DataKind> kind;  // how the octets are given to the sink, if they are
    bool hashed = false;           // when the limits ask for hashes
    bool opened = false;           // when it is an archive
  };
  FileOutput(Context& context, const Plan& plan);
  FileOutput(const FileOutput&) = delete;
  FileOutput& operator=(const FileOutput&) = delete;
  void feed(Bytes octets);
  void finish(PartEnd& end);

 private:
  Context& context_;
  Plan plan_;
  std::uint64_t octets_ = 0;
  TypeDetector type_;
  Digest md5_;
  Digest sha256_;
  ArchiveSearch archive_;
};

}  // namespace sluice::mime
