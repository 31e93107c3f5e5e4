#include "control/store/config_archive.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <system_error>

#include "control/files/read_file.h"
#include "control/store/replace_file.h"

namespace sluice::control {
namespace {

using nlohmann::json;

constexpr std::string_view kPrefix = "revision-";
constexpr std::size_t kMostHeader = 64 * 1024;  // octets

std::string header_of(const Revision& r) {
  json j = {{"sequence", r.sequence}, {"time", r.time}, {"user", r.user},
            {"from", r.from},         {"what", r.what}, {"comment", r.comment}};
  if (r.unconfirmed) {
    j["unconfirmed"] = {{"return_to", r.unconfirmed->return_to},
                        {"until_monotonic", r.unconfirmed->until_monotonic},
                        {"until_wall", r.unconfirmed->until_wall},
                        {"boot", r.unconfirmed->boot}};
  }
  return j.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::optional<Revision> parse_header(const std::string& line) try {
  const json j = json::parse(line);
  Revision r;
  r.sequence = j.at("sequence").get<std::uint64_t>();
  r.time = j.at("time").get<std::uint64_t>();
  r.user = j.at("user").get<std::string>();
  r.from = j.at("from").get<std::string>();
  r.what = j.at("what").get<std::string>();
  r.comment = j.at("comment").get<std::string>();
  if (const auto u = j.find("unconfirmed"); u != j.end()) {
    r.unconfirmed = Unconfirmed{
        u->at("return_to").get<std::uint64_t>(), u->at("until_monotonic").get<std::uint64_t>(),
        u->at("until_wall").get<std::uint64_t>(), u->at("boot").get<std::string>()};
  }
  return r;
} catch (const json::exception&) {
  return std::nullopt;
}

struct Stored {
  Revision revision;
  std::string text;
};

std::optional<Stored> read_stored(const std::filesystem::path& path, bool with_text) {
  std::ifstream in(path, std::ios::binary);
  std::string line(kMostHeader, '\0');
  if (!in.getline(line.data(), static_cast<std::streamsize>(line.size()))) return std::nullopt;
  const auto header = static_cast<std::size_t>(in.gcount());
  line.resize(header);
  while (!line.empty() && line.back() == '\0') line.pop_back();
  auto revision = parse_header(line);
  if (!revision) return std::nullopt;
  Stored stored{std::move(*revision), {}};
  if (!with_text) return stored;
  auto text = read_file(path);
  if (!text || text->size() < header) return std::nullopt;
  stored.text = text->substr(header);
  return stored;
}

}  // namespace

Result<std::unique_ptr<ConfigArchive>> ConfigArchive::open(std::filesystem::path folder,
                                                           std::filesystem::path file) {
  std::error_code code;
  std::filesystem::create_directories(folder, code);
  if (code) return Error{folder.string() + ": " + code.message()};
  std::unique_ptr<ConfigArchive> archive(new ConfigArchive(std::move(folder), std::move(file)));
  if (auto s = archive->read_all(); !s) return Error{s.error()};
  if (auto s = archive->recover(); !s) return Error{s.error()};
  return archive;
}

std::filesystem::path ConfigArchive::path_of(std::uint64_t sequence) const {
  return folder_ / (std::string(kPrefix) + std::to_string(sequence));
}

Status ConfigArchive::read_all() {
  std::error_code code;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, code)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".new")) {  // never came into its place
      std::error_code ignored;
      std::filesystem::remove(entry.path(), ignored);
      continue;
    }
    if (!name.starts_with(kPrefix)) continue;
    auto stored = read_stored(entry.path(), false);
    if (!stored || path_of(stored->revision.sequence) != entry.path()) {
      note_ += name + " is damaged and left aside; ";
      continue;
    }
    revisions_.push_back(std::move(stored->revision));
  }
  if (code) return Error{folder_.string() + ": " + code.message()};
  std::sort(revisions_.begin(), revisions_.end(),
            [](const Revision& a, const Revision& b) { return a.sequence < b.sequence; });
  return ok();
}

// What a commit that was cut off has left.
Status ConfigArchive::recover() {
  discard_beside(file_);
  const std::filesystem::path pending = folder_ / "pending";
  std::error_code code;
  if (!std::filesystem::exists(pending, code)) return ok();
  auto stored = read_stored(pending, true);
  const auto current = read_file(file_);
  if (stored && current && *current == stored->text) {
    note_ += "a commit that was cut off at its end is whole (revision " +
             std::to_string(stored->revision.sequence) + "); ";
    prepared_ = std::move(stored->revision);
    return put_in_place();
  }
  note_ += "a commit that was cut off before its end is forgotten; ";
  std::filesystem::remove(pending, code);
  return synchronise_folder(folder_);
}

std::uint64_t ConfigArchive::next_sequence() const {
  const std::lock_guard lock(mutex_);
  return revisions_.empty() ? 1 : revisions_.back().sequence + 1;
}

Status ConfigArchive::prepare(Revision revision, std::string_view text) {
  revision.sequence = next_sequence();
  std::string whole = header_of(revision);
  whole += text;
  // The revision first: once the configuration has been renamed it must be there.
  if (auto s = replace_file(folder_ / "pending", whole); !s) return s;
  if (auto s = write_beside(file_, text); !s) {
    std::error_code ignored;
    std::filesystem::remove(folder_ / "pending", ignored);
    return s;
  }
  const std::lock_guard lock(mutex_);
  prepared_ = std::move(revision);
  return ok();
}

void ConfigArchive::abandon() {
  discard_beside(file_);
  std::error_code ignored;
  std::filesystem::remove(folder_ / "pending", ignored);
  const std::lock_guard lock(mutex_);
  prepared_.reset();
}

Status ConfigArchive::finish() {
  if (auto s = move_into_place(file_); !s) return s;
  return put_in_place();
}

Status ConfigArchive::put_in_place() {
  Revision revision;
  {
    const std::lock_guard lock(mutex_);
    if (!prepared_) return Error{"nothing was prepared"};
    revision = std::move(*prepared_);
    prepared_.reset();
  }
  std::error_code code;
  std::filesystem::rename(folder_ / "pending", path_of(revision.sequence), code);
  if (code) return Error{folder_.string() + ": " + code.message()};
  if (auto s = synchronise_folder(folder_); !s) return s;
  const std::lock_guard lock(mutex_);
  revisions_.push_back(std::move(revision));
  // What an unconfirmed commit goes back to stays as long as it may be needed.
  const auto& newest = revisions_.back();
  const std::uint64_t kept = newest.unconfirmed ? newest.unconfirmed->return_to : UINT64_MAX;
  while (revisions_.size() > kMostRevisions && revisions_.front().sequence != kept) {
    std::filesystem::remove(path_of(revisions_.front().sequence), code);
    revisions_.erase(revisions_.begin());
  }
  return ok();
}

Status ConfigArchive::record(Revision revision, std::string_view text) {
  revision.sequence = next_sequence();
  std::string whole = header_of(revision);
  whole += text;
  if (auto s = replace_file(folder_ / "pending", whole); !s) return s;
  {
    const std::lock_guard lock(mutex_);
    prepared_ = std::move(revision);
  }
  return put_in_place();
}

Status ConfigArchive::confirm() {
  Revision newest;
  {
    const std::lock_guard lock(mutex_);
    if (revisions_.empty() || !revisions_.back().unconfirmed) return ok();
    newest = revisions_.back();
  }
  auto body = text(newest.sequence);
  if (!body) return Error{body.error()};
  newest.unconfirmed.reset();
  if (auto s = replace_file(path_of(newest.sequence), header_of(newest) + *body); !s) return s;
  const std::lock_guard lock(mutex_);
  if (!revisions_.empty() && revisions_.back().sequence == newest.sequence) {
    revisions_.back().unconfirmed.reset();
  }
  return ok();
}

std::vector<Revision> ConfigArchive::revisions() const {
  const std::lock_guard lock(mutex_);
  return {revisions_.rbegin(), revisions_.rend()};
}

Result<std::string> ConfigArchive::text(std::uint64_t sequence) const {
  auto stored = read_stored(path_of(sequence), true);
  if (!stored) return Error{path_of(sequence).string() + ": cannot be read"};
  return std::move(stored->text);
}

}  // namespace sluice::control
