#include "control/cli/rules_update.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <ostream>
#include <system_error>

#include "control/api/server.h"
#include "control/cli/offline.h"
#include "control/cli/text.h"
#include "control/policy/rules.h"
#include "control/policy/rules_archive.h"

namespace sluice::control {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t kKeptVersions = 3;

class Update {
 public:
  Update(const json& arguments, const RunOptions& options)
      : options_(options),
        source_(arguments.value("source", std::string{})),
        keyring_(arguments.value("keyring", std::string{"/etc/sluice/rules-keyring.gpg"})),
        folder_(fs::path(arguments.value("root", std::string{"/var/lib/sluice/rules"})) /
                arguments.value("name", std::string{"updates"})),
        unsigned_(arguments.value("unsigned", false)),
        load_(!arguments.value("no_load", false)) {}

  Status run() {
    if (folder_.filename().empty() || folder_.filename().string().front() == '.') {
      return Error{"--name: the name of a folder is wanted"};
    }
    for (const auto step :
         {&Update::verify, &Update::unpack, &Update::compile, &Update::take, &Update::load}) {
      if (Status status = (this->*step)(); !status) {
        undo();
        return status;
      }
    }
    forget_old();
    return ok();
  }

  json report() const {
    json result = {{"version", archive_.version},
                   {"folder", (folder_ / "current").string()},
                   {"signed", !archive_.signature.empty()},
                   {"files", names_.size()},
                   {"loaded", loaded_},
                   {"note", note_}};
    if (rules_) {
      result["rules"] = rules_->rules.size() + rules_->lists.size();
      result["refused"] = rules_->refused;
    }
    return result;
  }
  const CompiledRules* rules() const { return rules_.get(); }
  bool partial() const { return !note_.empty() || (rules_ && rules_->refused > 0); }

 private:
  Status verify() {
    auto found = find_archive(source_);
    if (!found) return Error{found.error()};
    archive_ = std::move(*found);
    if (!archive_.checksum.empty()) {
      if (Status status = verify_checksum(archive_); !status) return status;
    }
    if (archive_.signature.empty()) {
      if (unsigned_) return ok();
      return Error{archive_.archive.string() +
                   ": has no signature (.asc beside it); --unsigned takes it all the same"};
    }
    return verify_signature(archive_, keyring_);
  }

  Status unpack() {
    std::error_code error;
    fs::create_directories(folder_ / "versions", error);
    if (error) return Error{(folder_ / "versions").string() + ": " + error.message()};
    version_ = folder_ / "versions" / archive_.version;
    unpacking_ = version_.string() + ".new";
    fs::remove_all(unpacking_, error);
    if (!fs::create_directory(unpacking_, error)) {
      return Error{unpacking_.string() + ": " + error.message()};
    }
    auto names = unpack_archive(archive_.archive, unpacking_);
    if (!names) return Error{names.error()};
    names_ = std::move(*names);
    return ok();
  }

  Status compile() {
    auto compiled = compile_rules({unpacking_});
    if (!compiled) return Error{compiled.error()};
    rules_ = std::move(*compiled);
    if (!rules_->rules.empty() || !rules_->lists.empty()) return ok();
    std::string first;
    for (const RuleFault& f : rules_->faults) {
      if (!f.fatal) continue;
      first = "; the first fault: " + f.file + ":" + std::to_string(f.line) + ": " + f.text;
      break;
    }
    return Error{archive_.archive.string() + ": no rule in it compiles" + first};
  }

  // Points `current` to `target`, at one instant.
  Status point(const fs::path& target) {
    const fs::path link = folder_ / "current";
    const fs::path beside = folder_ / (".current." + std::to_string(::getpid()));
    std::error_code error;
    fs::remove(beside, error);
    fs::create_symlink(target, beside, error);
    if (!error) fs::rename(beside, link, error);
    if (error) return Error{link.string() + ": " + error.message()};
    return ok();
  }

  Status take() {
    std::error_code error;
    const fs::path before = fs::read_symlink(folder_ / "current", error);
    if (!error) before_ = before;
    // The same version again: what is in use is never written to.
    for (int n = 2; fs::exists(version_, error); ++n) {
      version_ = folder_ / "versions" / (archive_.version + "." + std::to_string(n));
    }
    fs::rename(unpacking_, version_, error);
    if (error) return Error{version_.string() + ": " + error.message()};
    unpacking_.clear();
    ::sync();  // all of the version before the link that names it
    if (Status status = point(fs::path("versions") / version_.filename()); !status) return status;
    switched_ = true;
    return ok();
  }

  Result<json> ask(const char* command, const json& arguments) {
    auto client = ApiClient::connect(options_.socket, 600);
    if (!client) return Error{client.error()};
    if (auto sent = client->send({{"command", command}, {"arguments", arguments}}); !sent) {
      return Error{sent.error()};
    }
    auto answer = client->receive();
    if (!answer) return Error{answer.error()};
    if (!answer->value("ok", false)) {
      return Error{answer->value("error", std::string("sluiced gave no reason"))};
    }
    return answer->value("result", json::object());
  }

  Status load() {
    if (!load_) return ok();
    const auto listed = ask("show rules", {{"limit", 1}});
    if (!listed) {
      return Error{listed.error() + " (--no-load installs the rules for the next start)"};
    }
    const std::string current = (folder_ / "current").string();
    const json files = listed->value("files", json::array());
    if (std::ranges::find(files, json(current)) == files.end()) {
      note_ = "the configuration does not name " + current +
              " among its rule files: add it, and later updates load by themselves";
      return ok();
    }
    if (const auto loaded = ask("rules load", {{"comment", "rules update " + archive_.version}});
        !loaded) {
      return Error{loaded.error()};
    }
    loaded_ = true;
    return ok();
  }

  void undo() {
    std::error_code ignored;
    if (!unpacking_.empty()) fs::remove_all(unpacking_, ignored);
    if (!switched_) return;
    if (before_.empty()) {
      fs::remove(folder_ / "current", ignored);
    } else if (!point(before_)) {
      return;
    }
    fs::remove_all(version_, ignored);
  }

  // Versions that are neither in use nor among the newest.
  void forget_old() {
    std::vector<std::pair<fs::file_time_type, fs::path>> versions;
    std::error_code error;
    for (fs::directory_iterator at(folder_ / "versions", error), end; !error && at != end;
         at.increment(error)) {
      std::error_code gone;
      const auto time = at->last_write_time(gone);
      if (!gone && at->path() != version_) versions.emplace_back(time, at->path());
    }
    std::ranges::sort(versions);
    for (std::size_t i = 0; i + kKeptVersions - 1 < versions.size(); ++i) {
      fs::remove_all(versions[i].second, error);
    }
  }

  const RunOptions& options_;
  fs::path source_;
  fs::path keyring_;
  fs::path folder_;
  bool unsigned_;
  bool load_;

  ChannelArchive archive_;
  fs::path unpacking_;
  fs::path version_;
  fs::path before_;  // what `current` pointed to
  bool switched_ = false;
  bool loaded_ = false;
  std::vector<std::string> names_;
  std::shared_ptr<const CompiledRules> rules_;
  std::string note_;
};

}  // namespace

int rules_update(const json& arguments, const RunOptions& options, std::ostream& out,
                 std::ostream& errors) {
  Update update(arguments, options);
  const Status status = update.run();
  if (!status) {
    errors << "sluicectl: " << for_terminal(status.error()) << "\n"
           << "sluicectl: nothing was changed\n";
    return kFailed;
  }
  const json report = update.report();
  if (options.as_json) {
    out << report.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
  } else {
    print_faults(*update.rules(), errors);
    out << "version " << for_terminal(report["version"].get<std::string>()) << ": "
        << count_text(report["rules"].get<std::size_t>()) << " rules, "
        << count_text(report["refused"].get<std::size_t>()) << " refused; "
        << (report["signed"].get<bool>() ? "signature good" : "unsigned") << "; "
        << (report["loaded"].get<bool>() ? "loaded" : "not loaded") << "\n";
    if (const std::string note = report["note"]; !note.empty()) {
      errors << "sluicectl: " << for_terminal(note) << "\n";
    }
  }
  return update.partial() ? kPartial : kDone;
}

}  // namespace sluice::control
