#include "control/cli/message_files.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include "control/files/read_file.h"

namespace sluice::control {
namespace {

constexpr std::uintmax_t kMaxFile = std::uintmax_t{1} << 30;

// The line at `at`, its end included.
std::string_view line_at(std::string_view octets, std::size_t at) {
  const std::size_t end = octets.find('\n', at);
  return octets.substr(at, end == std::string_view::npos ? end : end + 1 - at);
}

// "From sender Thu Nov 26 00:00:00 2026": a day and a month of asctime() are there.
bool is_mbox_line(std::string_view line) {
  if (!line.starts_with("From ")) return false;
  constexpr std::array<std::string_view, 7> kDays{" Mon ", " Tue ", " Wed ", " Thu ",
                                                  " Fri ", " Sat ", " Sun "};
  constexpr std::array<std::string_view, 12> kMonths{"Jan ", "Feb ", "Mar ", "Apr ",
                                                     "May ", "Jun ", "Jul ", "Aug ",
                                                     "Sep ", "Oct ", "Nov ", "Dec "};
  line = line.substr(0, 1000);
  for (const std::string_view day : kDays) {
    const std::size_t at = line.rfind(day);
    if (at == std::string_view::npos) continue;
    const std::string_view rest = line.substr(at + day.size());
    return std::ranges::any_of(kMonths, [&](std::string_view m) { return rest.starts_with(m); });
  }
  return false;
}

void append_line(std::string& out, std::string_view line, bool unix_text, bool mbox) {
  if (mbox && line.starts_with('>')) {
    const std::size_t quotes = line.find_first_not_of('>');
    if (quotes != std::string_view::npos && line.substr(quotes).starts_with("From ")) {
      line.remove_prefix(1);
    }
  }
  if (unix_text && line.ends_with('\n') && !line.ends_with("\r\n")) {
    out += line.substr(0, line.size() - 1);
    out += "\r\n";
  } else {
    out += line;
  }
}

bool is_empty_line(std::string_view line) { return line == "\n" || line == "\r\n"; }

bool looks_like_message(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  if (name.empty() || name.front() == '.') return false;
  const std::string extension = path.extension().string();
  if (extension == ".eml" || extension == ".mbox") return true;
  const std::filesystem::path folder = path.parent_path().filename();
  if (folder == "cur" || folder == "new") return true;
  return name.find_first_not_of("0123456789") == std::string::npos;
}

}  // namespace

Result<std::vector<std::filesystem::path>> message_paths(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return std::vector{path};
  std::vector<std::filesystem::path> found;
  for (std::filesystem::recursive_directory_iterator at(path, error), end; !error && at != end;
       at.increment(error)) {
    if (looks_like_message(at->path()) && at->is_regular_file()) found.push_back(at->path());
  }
  if (error) return Error{path.string() + ": " + error.message()};
  std::ranges::sort(found);
  return found;
}

std::vector<MessageFile> cut_messages(const std::string& name, std::string_view octets) {
  std::vector<MessageFile> messages;
  std::string_view first = line_at(octets, 0);
  const bool mbox = is_mbox_line(first);
  const bool unix_text = first.ends_with('\n') && !first.ends_with("\r\n");
  bool after_empty = true;  // the first line may begin a message
  MessageFile current;
  std::size_t at = 0;
  // An mbox has an empty line behind each message that is not the message's.
  const auto end_message = [&] {
    if (mbox && current.octets.ends_with("\r\n\r\n"))
      current.octets.resize(current.octets.size() - 2);
    messages.push_back(std::move(current));
    current = {};
  };
  bool open = !mbox;
  while (at < octets.size()) {
    const std::string_view line = line_at(octets, at);
    at += line.size();
    if (mbox && after_empty && is_mbox_line(line)) {
      if (open) end_message();
      open = true;
      after_empty = false;
      continue;
    }
    after_empty = is_empty_line(line);
    append_line(current.octets, line, unix_text, mbox);
  }
  if (open) end_message();
  for (std::size_t i = 0; i < messages.size(); ++i) {
    messages[i].name = messages.size() == 1 ? name : name + ":" + std::to_string(i + 1);
  }
  return messages;
}

Status for_each_message(const std::vector<std::filesystem::path>& paths,
                        const std::function<bool(const MessageFile&)>& each) {
  for (const std::filesystem::path& path : paths) {
    auto files = message_paths(path);
    if (!files) return Error{files.error()};
    if (files->empty())
      return Error{path.string() + ": no messages there (*.eml, *.mbox, Maildir)"};
    for (const std::filesystem::path& file : *files) {
      const auto octets = read_file(file, kMaxFile);
      if (!octets) return Error{octets.error()};
      for (const MessageFile& message : cut_messages(file.string(), *octets)) {
        if (!each(message)) return ok();
      }
    }
  }
  return ok();
}

}  // namespace sluice::control
