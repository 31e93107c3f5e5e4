// The configuration on the disk and those before it: `rollback 0` to `rollback 49`.
//
// The configuration is one file; each that was committed stands in FOLDER/revision-N (a line of
// JSON that says who, when and why, then the text). A commit is made in two halves: prepare()
// writes everything beside, so that a full disk is known before anything has changed; finish()
// renames. The rename of the configuration itself is the instant of the commit: killed before it,
// the old one is there and what was prepared is thrown away at the next start; killed after it, the
// new one is there and its revision is put in its place at the next start. Nothing is ever both.
//
// A commit that wants to be confirmed says so in its revision; whoever opens the archive later,
// after a crash or not, sees until when, and what to go back to.
//
// Any thread; calls that write wait for the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/result.h"

namespace sluice::control {

// A commit that is taken back unless it is confirmed.
struct Unconfirmed {
  std::uint64_t return_to = 0;        // sequence of the revision to go back to
  std::uint64_t until_monotonic = 0;  // ns, in the boot named
  std::uint64_t until_wall = 0;       // ns since the Unix epoch: counts in another boot
  std::string boot;
};

struct Revision {
  std::uint64_t sequence = 0;  // grows by one with each commit
  std::uint64_t time = 0;      // ns since the Unix epoch
  std::string user;
  std::string from;
  std::string what;
  std::string comment;
  std::optional<Unconfirmed> unconfirmed;
};

class ConfigArchive {
 public:
  static constexpr std::size_t kMostRevisions = 50;

  // Makes the folder when it is not there, and ends or undoes a commit that was cut off. `file` is
  // the configuration; it may be missing.
  static Result<std::unique_ptr<ConfigArchive>> open(std::filesystem::path folder,
                                                     std::filesystem::path file);

  // Writes `text` beside the configuration and as the next revision. `revision.sequence` is set
  // here. What was prepared before and not finished is forgotten.
  Status prepare(Revision revision, std::string_view text);
  // What was prepared becomes the configuration. An error after the instant of the commit is told
  // but the commit stands.
  Status finish();
  void abandon();

  // A configuration that came to run in another way (the file was edited by hand): becomes the
  // newest revision, the file stays untouched.
  Status record(Revision revision, std::string_view text);
  // The newest revision needs no confirmation any more.
  Status confirm();

  // Newest first: `rollback N` is [N].
  std::vector<Revision> revisions() const;
  Result<std::string> text(std::uint64_t sequence) const;
  std::uint64_t next_sequence() const;
  // What had to be put right when the archive was opened; empty: nothing.
  const std::string& note() const { return note_; }

 private:
  ConfigArchive(std::filesystem::path folder, std::filesystem::path file)
      : folder_(std::move(folder)), file_(std::move(file)) {}
  Status recover();
  Status read_all();
  Status put_in_place();  // the prepared revision, under its name
  std::filesystem::path path_of(std::uint64_t sequence) const;

  std::filesystem::path folder_;
  std::filesystem::path file_;
  std::string note_;
  mutable std::mutex mutex_;
  std::vector<Revision> revisions_;  // oldest first
  std::optional<Revision> prepared_;
};

}  // namespace sluice::control
