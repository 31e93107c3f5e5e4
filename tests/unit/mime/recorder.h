// Records what a mime::Parser says about a message, each (part, kind) joined, so that runs over the
// same octets in other cuts compare equal.
#pragma once

#include <cstdint>
#include <map>
#include <memory_resource>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/mime/parser.h"

namespace sluice::mime::test {

struct HeaderField {
  std::string name, raw, value;
  bool operator==(const HeaderField&) const = default;
};

struct RecordedPart {
  PartNumber number = 0, parent = 0;
  std::uint32_t depth = 0;
  std::string type, subtype, charset, transfer_encoding, disposition, name, other_name, content_id;
  bool multipart = false, nested = false, attachment = false, alternative = false;
  bool begun = false, ended = false;
  std::vector<HeaderField> headers;
  std::string raw_header, decoded, text, other;
  std::vector<std::pair<std::string, std::string>> urls;
  std::uint64_t octets = 0;
  std::string detected;
  std::string md5, sha256;
  bool operator==(const RecordedPart&) const = default;
};

inline std::string hex(const std::uint8_t* p, std::size_t n) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string s;
  for (std::size_t i = 0; i < n; ++i) {
    s.push_back(kDigits[p[i] >> 4]);
    s.push_back(kDigits[p[i] & 15]);
  }
  return s;
}

class Recorder final : public ParserSink {
 public:
  std::map<PartNumber, RecordedPart> parts;
  std::vector<contract::Anomaly> anomalies;
  // Begins and ends in their order, of each reading (they run beside each other).
  std::map<PartNumber, std::string> order;
  bool faulty = false;  // a call out of order

  void on_header(PartNumber part, std::string_view name, std::string_view raw,
                 std::string_view value) override {
    if (at(part).ended) faulty = true;
    at(part).headers.push_back({std::string(name), std::string(raw), std::string(value)});
  }
  void on_header_raw(PartNumber part, Bytes octets) override {
    at(part).raw_header += as_text(octets);
  }
  void on_header_end(PartNumber part) override { note('h', part); }
  void on_part_begin(const Part& p) override {
    RecordedPart& r = at(p.number);
    if (r.begun) faulty = true;
    r.begun = true;
    r.parent = p.parent;
    r.depth = p.depth;
    r.type = p.type;
    r.subtype = p.subtype;
    r.charset = p.charset;
    r.transfer_encoding = p.transfer_encoding;
    r.disposition = p.disposition;
    r.name = p.name;
    r.other_name = p.other_name;
    r.content_id = p.content_id;
    r.multipart = p.multipart;
    r.nested = p.nested_message;
    r.attachment = p.attachment;
    r.alternative = p.alternative;
    note('b', p.number);
  }
  void on_part_data(PartNumber part, DataKind kind, Bytes octets) override {
    RecordedPart& r = at(part);
    if (!r.begun || r.ended || octets.empty()) faulty = true;
    std::string& to = kind == DataKind::decoded ? r.decoded
                      : kind == DataKind::text  ? r.text
                                                : r.other;
    to += as_text(octets);
  }
  void on_part_end(const PartEnd& end) override {
    RecordedPart& r = at(end.number);
    if (!r.begun || r.ended) faulty = true;
    r.ended = true;
    r.octets = end.octets;
    r.detected = end.detected_type;
    if (end.has_md5) r.md5 = hex(end.md5.data(), end.md5.size());
    if (end.has_sha256) r.sha256 = hex(end.sha256.data(), end.sha256.size());
    note('e', end.number);
  }
  void on_url(PartNumber part, std::string_view url, std::string_view host) override {
    at(part).urls.emplace_back(url, host);
  }
  void on_anomaly(contract::Anomaly anomaly) override { anomalies.push_back(anomaly); }

  bool has(contract::Anomaly a) const {
    for (const auto x : anomalies)
      if (x == a) return true;
    return false;
  }
  std::string_view subject(PartNumber part = 0) const { return header(part, "Subject"); }
  std::string_view header(PartNumber part, std::string_view name) const {
    const auto it = parts.find(part);
    if (it == parts.end()) return {};
    for (const HeaderField& h : it->second.headers)
      if (h.name == name) return h.value;
    return {};
  }
  // Every octet that was given for scanning, of all parts.
  bool sees(std::string_view needle) const {
    for (const auto& [n, p] : parts) {
      if (p.decoded.find(needle) != std::string::npos || p.text.find(needle) != std::string::npos ||
          p.other.find(needle) != std::string::npos)
        return true;
    }
    return false;
  }
  std::vector<std::string> all_urls() const {
    std::vector<std::string> all;
    for (const auto& [n, p] : parts)
      for (const auto& u : p.urls) all.push_back(u.first);
    return all;
  }
  std::vector<std::string> all_hosts() const {
    std::vector<std::string> all;
    for (const auto& [n, p] : parts)
      for (const auto& u : p.urls) all.push_back(u.second);
    return all;
  }
  bool operator==(const Recorder& o) const {
    return parts == o.parts && anomalies == o.anomalies && order == o.order;
  }

 private:
  void note(char what, PartNumber n) {
    order[n / kAlternativeParts] += what + std::to_string(n) + " ";
  }
  RecordedPart& at(PartNumber n) {
    RecordedPart& r = parts[n];
    r.number = n;
    return r;
  }
};

// Feeds `message` in pieces of `size` octets; 0: all at once; negative: random pieces of that seed.
inline void parse(Recorder& out, std::string_view message, long size, const Limits& limits) {
  Parser parser(limits, out, std::pmr::new_delete_resource());
  std::minstd_rand random(static_cast<unsigned>(-size));
  while (!message.empty()) {
    std::size_t n = message.size();
    if (size > 0) n = std::min(n, static_cast<std::size_t>(size));
    if (size < 0) n = std::min<std::size_t>(n, 1 + random() % (random() % 8 == 0 ? 700 : 9));
    parser.feed(as_bytes(message.substr(0, n)));
    message.remove_prefix(n);
  }
  parser.finish();
}

inline Limits all_wanted() {
  Limits limits;
  limits.hash_md5 = true;
  limits.hash_sha256 = true;
  return limits;
}

}  // namespace sluice::mime::test
