// Messages from files, as they would go over the wire, for the commands that try rules on them.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/result.h"

namespace sluice::control {

struct MessageFile {
  std::string name;    // the path; of an mbox with several messages, "path:N" with N from 1
  std::string octets;  // line ends are CRLF; no mbox line
};

// The files with messages that `path` stands for: itself, or of a folder, at any depth and in the
// order of names: *.eml, *.mbox, what lies in the `cur` and `new` of a Maildir, and numbers (MH).
Result<std::vector<std::filesystem::path>> message_paths(const std::filesystem::path& path);

// Cuts the octets of a file into its messages. One that begins with an mbox line ("From " and a
// date, RFC 4155) is an mbox: each such line behind an empty one begins a message, and one ">" is
// taken from lines of ">From ". A file whose first line ends in LF alone was stored as Unix text:
// every lone LF becomes CRLF, as in sending. Linear.
std::vector<MessageFile> cut_messages(const std::string& name, std::string_view octets);

// Calls `each` for every message of `paths`, in order; one file is in memory at a time (at most
// 1 GiB). Ends when `each` returns false. Fails when a path cannot be read.
Status for_each_message(const std::vector<std::filesystem::path>& paths,
                        const std::function<bool(const MessageFile&)>& each);

}  // namespace sluice::control
