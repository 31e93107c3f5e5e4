#include "dataplane/mime/file_output.h"

#include <openssl/evp.h>

namespace sluice::mime {
namespace {

const EVP_MD* algorithm_of(Digest::Algorithm algorithm) {
  // Fetched once: EVP_md5() and EVP_sha256() fetch on each use (OpenSSL 3, crypto(7)).
  static const EVP_MD* const md5 = EVP_MD_fetch(nullptr, "MD5", nullptr);
  static const EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return algorithm == Digest::Algorithm::md5 ? md5 : sha256;
}

}  // namespace

Digest::~Digest() { EVP_MD_CTX_free(context_); }

void Digest::begin(Algorithm algorithm) {
  const EVP_MD* const md = algorithm_of(algorithm);
  if (md == nullptr) return;  // MD5 is absent in a FIPS provider
  context_ = EVP_MD_CTX_new();
  if (context_ != nullptr && EVP_DigestInit_ex2(context_, md, nullptr) != 1) {
    EVP_MD_CTX_free(context_);
    context_ = nullptr;
  }
}

void Digest::feed(Bytes octets) {
  if (context_ != nullptr) EVP_DigestUpdate(context_, octets.data(), octets.size());
}

bool Digest::finish(MutableBytes out) {
  if (context_ == nullptr) return false;
  std::uint8_t digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  const bool done = EVP_DigestFinal_ex(context_, digest, &size) == 1 && size == out.size();
  if (done) std::memcpy(out.data(), digest, size);
  return done;
}

FileOutput::FileOutput(Context& context, const Plan& plan)
    : context_(context), plan_(plan), archive_(context, 0) {
  if (plan.hashed && context.limits.hash_md5) md5_.begin(Digest::Algorithm::md5);
  if (plan.hashed && context.limits.hash_sha256) sha256_.begin(Digest::Algorithm::sha256);
}

void FileOutput::feed(Bytes octets) {
  if (octets.empty()) return;
  octets_ += octets.size();
  type_.feed(octets);
  md5_.feed(octets);
  sha256_.feed(octets);
  if (plan_.kind) context_.sink.on_part_data(plan_.part, *plan_.kind, octets);
  // In front of a file that nobody opens as one (text that is shown) no archive is looked for.
  if (plan_.opened && context_.limits.archive_depth > 0)
    archive_.feed(plan_.part, plan_.depth, octets, plan_.hashed);
}

void FileOutput::finish(PartEnd& end) {
  const bool zip_inside = archive_.found_inside();
  archive_.finish();
  end.number = plan_.part;
  end.octets = octets_;
  end.detected_type = type_.type();
  if (end.detected_type.empty() && zip_inside) end.detected_type = "application/zip";
  end.has_md5 = md5_.finish(end.md5);
  end.has_sha256 = sha256_.finish(end.sha256);
}

}  // namespace sluice::mime
