// Answers about the configuration as a person reads them.
#include <ctime>

#include "control/cli/render.h"
#include "control/cli/text.h"

namespace sluice::control {
namespace {

using nlohmann::json;

json member(const json& j, const char* key) {
  const auto found = j.is_object() ? j.find(key) : j.end();
  return j.is_object() && found != j.end() && found->is_array() ? *found : json::array();
}
std::string text(const json& j, const char* key) {
  if (!j.is_object()) return {};
  const auto found = j.find(key);
  if (found == j.end()) return {};
  if (found->is_string()) return found->get<std::string>();
  return found->is_number() ? found->dump() : std::string{};
}
bool flag(const json& j, const char* key) {
  const auto found = j.is_object() ? j.find(key) : j.end();
  return j.is_object() && found != j.end() && found->is_boolean() && found->get<bool>();
}

}  // namespace

std::string render_commit_answer(const json& r, const RenderOptions& options) {
  std::string out;
  for (const json& n : member(r, "notes")) {
    if (n.is_string()) out += for_terminal(n.get<std::string>()) + "\n";
  }
  if (r.contains("confirmed")) return out + "commit confirmed: it stays\n";
  if (flag(r, "unchanged")) {
    out += "no changes\n";
    if (r.contains("confirm")) out += for_terminal(text(r, "confirm")) + "\n";
    return out;
  }
  if (flag(r, "checked")) {
    // The rules and lists as they would be; the dataplane has not been asked.
    json rest = r;
    rest["dataplane"] = "not asked";
    return out + render_commit(rest, options) + "configuration check succeeds\n";
  }
  out += render_commit(r, options);
  if (r.contains("confirm")) {
    out += "commit complete, to be confirmed: " + for_terminal(text(r, "confirm")) + "\n";
  } else {
    out += "commit complete: revision " + text(r, "revision") + "\n";
  }
  return out;
}

std::string render_history(const json& r, const RenderOptions& options) {
  Table t({{"ROLLBACK", true},
           {"WHEN (UTC)"},
           {"WHO"},
           {"WHAT", false, true},
           {"COMMENT", false, true}});
  for (const json& e : member(r, "revisions")) {
    const auto wall = e.is_object() ? e.value("time", json()) : json();
    std::string when;
    if (wall.is_number_unsigned()) {
      const auto seconds = static_cast<std::time_t>(wall.get<std::uint64_t>() / 1'000'000'000);
      std::tm parts{};
      char buffer[32] = "";
      if (::gmtime_r(&seconds, &parts) != nullptr) {
        std::strftime(buffer, sizeof buffer, "%Y-%m-%d %H:%M:%S", &parts);
      }
      when = buffer;
    }
    t.add({text(e, "number"), when, text(e, "user"), text(e, "what"), text(e, "comment")});
  }
  std::string out = t.text(options.width);
  if (const std::string waits = text(r, "confirm"); !waits.empty()) {
    out += for_terminal(waits) + "\n";
  }
  return out;
}

// A configuration: what its comments hold has been checked by the model, and is escaped all the
// same.
std::string render_text(const json& r, const RenderOptions&) {
  std::string out;
  const std::string whole = text(r, "text");
  for (std::size_t begin = 0; begin < whole.size();) {
    const std::size_t end = std::min(whole.find('\n', begin), whole.size());
    out += for_terminal(std::string_view(whole).substr(begin, end - begin)) + "\n";
    begin = end + 1;
  }
  return out;
}

std::string render_nothing(const json&, const RenderOptions&) { return {}; }

}  // namespace sluice::control
