#include "control/api/json_text.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

namespace sluice::control {

Result<nlohmann::json> parse_json(std::string_view text) {
  using Event = nlohmann::json::parse_event_t;
  struct Object {
    std::set<std::string> members;
    std::string current;
  };
  std::vector<Object> open;
  std::string twice;  // the path of the first such member
  const auto seen = [&](int, Event event, nlohmann::json& value) {
    if (event == Event::object_start) open.emplace_back();
    if (event == Event::object_end) open.pop_back();
    if (event != Event::key) return true;
    open.back().current = value.get<std::string>();
    if (!open.back().members.insert(open.back().current).second && twice.empty()) {
      for (const Object& object : open) twice += "/" + object.current;
    }
    return true;
  };
  try {
    nlohmann::json whole = nlohmann::json::parse(text, seen);
    if (!twice.empty()) return Error{": " + twice + ": stands twice"};
    return whole;
  } catch (const nlohmann::json::parse_error& e) {
    const std::size_t at = std::min<std::size_t>(e.byte, text.size());
    const auto lines =
        std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    return Error{":" + std::to_string(lines + 1) + ": not valid JSON"};
  } catch (const nlohmann::json::out_of_range&) {
    std::string where;
    for (const Object& object : open) where += "/" + object.current;
    return Error{": " + where + ": a number that is too large"};
  }
}

}  // namespace sluice::control
