// Prints what the MIME parser says of a message as one JSON object: for compare_email.py, and for
// people. Usage: mime_dump FILE... (one object a line, in the order of the files)
#include <openssl/evp.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "tests/unit/mime/recorder.h"

namespace {

using nlohmann::json;
using sluice::mime::test::Recorder;

std::string sha256_of(std::string_view octets) {
  std::uint8_t digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_Digest(octets.data(), octets.size(), digest, &size, EVP_sha256(), nullptr);
  return sluice::mime::test::hex(digest, size);
}

json to_json(const Recorder& r) {
  json out;
  for (const auto& [n, p] : r.parts) {
    json part{{"number", p.number},
              {"parent", p.parent},
              {"depth", p.depth},
              {"type", p.type + "/" + p.subtype},
              {"charset", p.charset},
              {"encoding", p.transfer_encoding},
              {"name", p.name},
              {"other_name", p.other_name},
              {"attachment", p.attachment},
              {"alternative", p.alternative},
              {"multipart", p.multipart},
              {"nested", p.nested},
              {"octets", p.octets},
              {"sha256", p.sha256},
              {"detected", p.detected},
              {"text", p.text},
              {"decoded_size", p.decoded.size()},
              {"other_size", p.other.size()}};
    part["sha256_decoded"] = sha256_of(p.decoded);
    for (const auto& h : p.headers) part["headers"].push_back({h.name, h.value});
    for (const auto& u : p.urls) part["urls"].push_back({u.first, u.second});
    out["parts"].push_back(part);
  }
  for (const auto a : r.anomalies)
    out["anomalies"].push_back(std::string(sluice::contract::info(a).name));
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    if (!file) {
      std::cerr << argv[i] << ": cannot be read\n";
      return 2;
    }
    const std::string message{std::istreambuf_iterator<char>(file), {}};
    sluice::mime::Limits limits = sluice::mime::test::all_wanted();
    limits.urls = 100000;
    Recorder r;
    sluice::mime::test::parse(r, message, 0, limits);
    std::cout << to_json(r).dump(-1, ' ', false, json::error_handler_t::replace) << "\n";
  }
  return 0;
}
