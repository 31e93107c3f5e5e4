// The messages of tests/mime-messages against the parse that the Stalwart mail-parser's tests
// expect of them: the tree of parts, text, octets of attachments, subjects, addresses, names. Each
// is read with LF (NAME.json) and CRLF line ends (NAME.crlf.json), whole, octet by octet and in
// random cuts.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "dataplane/mime/address.h"
#include "dataplane/mime/charset.h"
#include "dataplane/mime/transfer.h"
#include "tests/unit/mime/recorder.h"

namespace sluice::mime {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
using test::RecordedPart;
using test::Recorder;

// Every character that is not ASCII (a replacement character is one) as '?'.
std::string masked(std::string_view utf8) {
  std::string out;
  for (const char c : utf8) {
    const auto octet = static_cast<unsigned char>(c);
    if (octet < 0x80) out.push_back(c);
    if (octet >= 0xc0) out.push_back('?');
  }
  return out;
}

std::string without(std::string text, char c) {
  std::erase(text, c);
  return text;
}

std::string uudecoded(std::string_view text) {
  UuDecoder decoder;
  std::string out(text.size() * 63 + 128, '\0');
  auto* const to = reinterpret_cast<std::uint8_t*>(out.data());
  std::size_t size = decoder.decode(as_bytes(text), to);
  size += decoder.finish(to + size);
  out.resize(size);
  return out;
}

// Where our reading differs on purpose, and why. `explains`: that it is this and nothing else.
struct Deviation {
  std::string_view reason;
  bool (*explains)(std::string_view want, std::string_view have, const RecordedPart& part);
};
constexpr Deviation kDeviations[] = {
    {"raw octets above 0x7f that are not UTF-8 are shown as Windows-1252, not as U+FFFD",
     [](std::string_view want, std::string_view have, const RecordedPart&) {
       return want.find("\xef\xbf\xbd") != std::string_view::npos && masked(want) == masked(have);
     }},
    {"uuencode as Content-Transfer-Encoding is undone",
     [](std::string_view want, std::string_view have, const RecordedPart& part) {
       if (part.transfer_encoding != "x-uuencode" && part.transfer_encoding != "x-uue")
         return false;
       if (part.type != "text") return uudecoded(want) == have;
       std::pmr::string utf8;
       append_utf8(part.charset, as_bytes(uudecoded(want)), utf8);
       return std::string_view(utf8) == have;
     }},
    {"uuencoded files in text are parts of their own and not text (case B15)",
     [](std::string_view want, std::string_view have, const RecordedPart& part) {
       const std::size_t begin = want.find("begin 666 ");
       return part.subtype == "plain" && begin != std::string_view::npos &&
              have.substr(0, begin) == want.substr(0, begin);
     }},
    {"a backslash in a quoted file name is part of a path when it escapes nothing",
     [](std::string_view want, std::string_view have, const RecordedPart&) {
       return have.find('\\') != std::string_view::npos && without(std::string(have), '\\') == want;
     }},
    {"a body that is declared base64 is decoded, whatever it looks like (case B02)",
     [](std::string_view want, std::string_view, const RecordedPart& part) {
       return part.transfer_encoding == "base64" && want.find("base64-encoded") != want.npos;
     }},
};

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string without_cr(std::string text) {
  std::erase(text, '\r');
  return text;
}

std::string with_crlf(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') out.push_back('\r');
    out.push_back(c);
  }
  return out;
}

struct Collect final : MailboxSink {
  json list = json::array();
  void on_mailbox(const Mailbox& m) override {
    list.push_back({{"name", std::string(m.name)}, {"address", std::string(m.address)}});
  }
};

class Comparison {
 public:
  Comparison(std::string name, const Recorder& got) : name_(std::move(name)), got_(got) {}

  // Compares the message that `expected` describes with the parts from `at` on; the next part.
  PartNumber message(const json& expected, PartNumber at, const std::string& prefix) {
    std::vector<PartNumber> number;
    const json& parts = expected["parts"];
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::string path = prefix + std::to_string(i);
      if (!got_.parts.contains(at)) {
        fail(path, "missing part");
        return at;
      }
      number.push_back(at);
      at = part(parts[i], got_.parts.at(at), path);
    }
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const json& body = parts[i]["body"];
      if (!body.contains("Multipart")) continue;
      for (const json& child : body["Multipart"]) {
        const auto index = child.get<std::size_t>();
        if (index >= number.size() || got_.parts.at(number[index]).parent != number[i])
          fail(prefix + std::to_string(i), "child");
      }
    }
    return at;
  }
  const std::vector<std::string>& differences() const { return differences_; }

 private:
  void fail(const std::string& path, const std::string& what, const std::string& detail = {}) {
    differences_.push_back(name_ + ":" + path + " " + what + " " + detail);
  }
  void equal(const std::string& path, const std::string& what, std::string_view want,
             std::string_view have, const RecordedPart& part) {
    if (want == have) return;
    for (const Deviation& d : kDeviations)
      if (d.explains(want, have, part)) return;
    std::size_t at = 0;
    while (at < want.size() && at < have.size() && want[at] == have[at]) ++at;
    const std::size_t from = at > 20 ? at - 20 : 0;
    fail(path, what,
         "want(" + std::to_string(want.size()) + ") ..." + std::string(want.substr(from, 60)) +
             "... have(" + std::to_string(have.size()) + ") ..." +
             std::string(have.substr(from, 60)));
  }

  void headers(const json& expected, const RecordedPart& have, const std::string& path) {
    for (const json& h : expected["headers"]) {
      const json& value = h["value"];
      const std::string name = h["name"].is_string() ? h["name"].get<std::string>() : "";
      if (name == "subject") {
        equal(path, "subject", value["Text"].get<std::string>(),
              got_.header(have.number, "Subject"), have);
      } else if ((name == "from" || name == "to" || name == "cc") && value.contains("Address")) {
        addresses(name, value["Address"], have, path);
      } else if (name == "content_type" && value.contains("ContentType")) {
        content_type(value["ContentType"], have, path);
      } else if (name == "content_disposition" && value.contains("ContentType")) {
        file_name(value["ContentType"], "filename", have, path);
      }
    }
  }
  void addresses(const std::string& name, const json& want, const RecordedPart& have,
                 const std::string& path) {
    Collect c;
    for (const auto& h : have.headers) {
      std::string lower = h.name;
      std::transform(lower.begin(), lower.end(), lower.begin(),
                     [](char x) { return x >= 'A' && x <= 'Z' ? static_cast<char>(x + 32) : x; });
      if (lower == name) parse_addresses(h.raw, 1000, c, std::pmr::new_delete_resource());
    }
    json list = json::array();
    const auto add = [&](const json& mailboxes) {
      for (const json& m : mailboxes) {
        list.push_back(
            {{"name", m["name"].is_null() ? "" : m["name"].get<std::string>()},
             {"address", m["address"].is_null() ? "" : m["address"].get<std::string>()}});
      }
    };
    if (want.contains("List")) add(want["List"]);
    if (want.contains("Group"))
      for (const json& g : want["Group"]) add(g["addresses"]);
    equal(path, name, list.dump(), c.list.dump(), have);
  }
  void content_type(const json& want, const RecordedPart& have, const std::string& path) {
    const auto lower = [](std::string s) {
      std::transform(s.begin(), s.end(), s.begin(),
                     [](char x) { return x >= 'A' && x <= 'Z' ? static_cast<char>(x + 32) : x; });
      return s;
    };
    equal(path, "type", lower(want["c_type"].get<std::string>()), have.type, have);
    if (want["c_subtype"].is_string())
      equal(path, "subtype", lower(want["c_subtype"].get<std::string>()), have.subtype, have);
    file_name(want, "name", have, path);
    if (!want["attributes"].is_array()) return;
    for (const json& a : want["attributes"])
      if (a["name"] == "charset")
        equal(path, "charset", lower(a["value"].get<std::string>()), have.charset, have);
  }
  void file_name(const json& want, std::string_view attribute, const RecordedPart& have,
                 const std::string& path) {
    if (!want["attributes"].is_array()) return;
    for (const json& a : want["attributes"]) {
      if (a["name"] != attribute) continue;
      const std::string name = a["value"];
      if (name != have.name && name != have.other_name) equal(path, "name", name, have.name, have);
    }
  }

  PartNumber part(const json& expected, const RecordedPart& have, const std::string& path) {
    headers(expected, have, path);
    const json& body = expected["body"];
    if (body.contains("Text") || body.contains("Html")) {
      const std::string want = body.contains("Text") ? body["Text"] : body["Html"];
      // HTML's visible text is no part of what is expected: its source in UTF-8 is.
      std::pmr::string utf8;
      append_utf8(have.charset, as_bytes(have.decoded), utf8);
      equal(path, "text", want, utf8, have);
      if (body.contains("Text") && have.subtype != "html")
        equal(path, "text", want, have.text, have);
    } else if (body.contains("Binary") || body.contains("InlineBinary")) {
      std::string want;
      for (const json& octet : body.contains("Binary") ? body["Binary"] : body["InlineBinary"])
        want.push_back(static_cast<char>(octet.get<int>()));
      equal(path, "octets", want, have.decoded, have);
      if (have.octets != have.decoded.size()) fail(path, "size");
    } else if (body.contains("Message")) {
      if (!have.nested) fail(path, "nested");
      return message(body["Message"], have.number + 1, path + ".");
    }
    return have.number + 1;
  }

  std::string name_;
  const Recorder& got_;
  std::vector<std::string> differences_;
};

void check(const std::string& name, std::string_view message, const json& expected) {
  Recorder got;
  test::parse(got, message, 0, test::all_wanted());
  EXPECT_FALSE(got.faulty) << name;
  Comparison comparison(name, got);
  const PartNumber after = comparison.message(expected, 0, "");
  const auto own = std::count_if(got.parts.begin(), got.parts.end(), [](const auto& p) {
    return is_alternative(p.first) ||
           (p.second.headers.empty() && p.second.transfer_encoding == "x-uuencode");
  });
  EXPECT_EQ(after + static_cast<std::size_t>(own), got.parts.size()) << name << " parts";
  for (const std::string& d : comparison.differences()) ADD_FAILURE() << d;
  for (const long size : {1L, 7L, 536L, -1L, -2L, -3L}) {
    Recorder again;
    test::parse(again, message, size, test::all_wanted());
    EXPECT_TRUE(again == got) << name << " in pieces of " << size;
  }
}

TEST(MimeGolden, MessagesParseAsExpected) {
  std::vector<fs::path> files;
  for (const char* folder : {"rfc", "legacy"})
    for (const auto& entry : fs::directory_iterator(fs::path(MIME_MESSAGES) / folder))
      if (entry.path().extension() == ".eml") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  ASSERT_EQ(files.size(), 64u);
  for (const fs::path& file : files) {
    const std::string name = file.parent_path().filename().string() + "/" + file.stem().string();
    const std::string message = without_cr(read_file(file));
    check(name, message, json::parse(read_file(fs::path(file).replace_extension(".json"))));
    check(name + ".crlf", with_crlf(message),
          json::parse(read_file(fs::path(file).replace_extension(".crlf.json"))));
  }
}

}  // namespace
}  // namespace sluice::mime
