#include "control/api/http_values.h"

#include <algorithm>
#include <optional>

namespace sluice::control {
namespace {

using nlohmann::json;
using restconf::Fault;

std::string dump(const json& j) {
  return j.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::optional<std::time_t> parse_date(const std::string& text) {
  std::tm parts{};
  const char* end = strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  if (end == nullptr || *end != 0) return std::nullopt;
  return timegm(&parts);
}

// Whether a condition's list of entity tags holds ours.
bool holds_tag(const std::string& list, const std::string& tag) {
  if (list == "*") return true;
  for (std::size_t begin = 0; begin < list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    std::string one = list.substr(begin, end - begin);
    one.erase(0, one.find_first_not_of(' '));
    one.erase(one.find_last_not_of(' ') + 1);
    if (one.starts_with("W/")) one.erase(0, 2);
    if (one == "\"" + tag + "\"" || one == tag) return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

std::string tag_of(const json& result) {
  return result.value("sha256", std::string{}).substr(0, 32);
}

std::string http_date(std::time_t seconds) {
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[64];
  std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return text;
}

std::time_t seconds_of_rfc3339(const std::string& text) {
  std::tm parts{};
  const char* rest = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr) return 0;
  if (*rest == '.') {
    ++rest;
    while (*rest >= '0' && *rest <= '9') ++rest;
  }
  std::time_t offset = 0;
  if (*rest == '+' || *rest == '-') {
    int hours = 0;
    int minutes = 0;
    if (std::sscanf(rest + 1, "%2d:%2d", &hours, &minutes) != 2) return 0;
    offset = (*rest == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
  } else if (*rest != 'Z' && *rest != 'z') {
    return 0;
  }
  return timegm(&parts) - offset;
}

void put(httplib::Response& response, int status, const json& body, const char* type) {
  response.status = status;
  response.set_content(dump(body), type);
}
void put(httplib::Response& response, const Fault& fault) {
  put(response, fault.status, restconf::errors_json(fault));
}
// What the socket's protocol says went wrong, as HTTP.
Fault fault_of(const json& answer) {
  const std::string error = answer.value("error", std::string("no reason given"));
  if (const auto f = answer.find("fault"); f != answer.end() && f->is_object()) {
    return {f->value("status", 400), f->value("type", std::string{}),
            f->value("tag", std::string{}), f->value("message", std::string{}),
            f->value("path", std::string{})};
  }
  if (error.starts_with("refused: ")) {
    return {403, "protocol", "access-denied", error, {}};
  }
  if (error.starts_with("no answer in time")) {
    return {500, "application", "operation-failed", error, {}};
  }
  // libyang's words: what is wrong where.
  std::string path;
  if (const std::size_t begin = error.find("/sluice:sluice"); begin != std::string::npos) {
    path = error.substr(begin, error.find(": ", begin) - begin);
  }
  return {400, "application", "invalid-value", error, path};
}

// The raw target: a key may hold an encoded slash.
std::string raw_path(const httplib::Request& request) {
  return request.target.substr(0, request.target.find('?'));
}

// Conditions of RFC 9110 section 13 that RFC 8040 section 3.4.1 wants.
bool conditions(const httplib::Request& request, httplib::Response& response,
                const std::string& tag, std::time_t changed, bool reading) {
  response.set_header("ETag", "\"" + tag + "\"");
  response.set_header("Last-Modified", http_date(changed));
  const auto refuse = [&](const char* what) {
    put(response, Fault{412, "protocol", "operation-failed", what, {}});
    return false;
  };
  if (request.has_header("If-Match")) {
    if (!holds_tag(request.get_header_value("If-Match"), tag)) {
      return refuse("the configuration has changed: If-Match does not hold");
    }
  } else if (request.has_header("If-Unmodified-Since")) {
    const auto since = parse_date(request.get_header_value("If-Unmodified-Since"));
    if (since && changed > *since) {
      return refuse("the configuration has changed: If-Unmodified-Since does not hold");
    }
  }
  if (request.has_header("If-None-Match")) {
    if (holds_tag(request.get_header_value("If-None-Match"), tag)) {
      if (!reading) return refuse("If-None-Match does not hold");
      response.status = 304;
      return false;
    }
  } else if (reading && request.has_header("If-Modified-Since")) {
    const auto since = parse_date(request.get_header_value("If-Modified-Since"));
    if (since && changed <= *since) {
      response.status = 304;
      return false;
    }
  }
  return true;
}

// Each parameter once, and none that is not claimed (section 4.8).
Fault check_parameters(const httplib::Request& request,
                       std::initializer_list<const char*> allowed) {
  for (const auto& [name, value] : request.params) {
    const bool known =
        std::any_of(allowed.begin(), allowed.end(), [&n = name](const char* a) { return n == a; });
    if (!known) {
      return {400,
              "protocol",
              "invalid-value",
              "the query parameter '" + name + "' is not supported here",
              {}};
    }
    if (request.params.count(name) > 1) {
      return {400, "protocol", "invalid-value", "'" + name + "' stands twice", {}};
    }
  }
  return {};
}

// Reading a resource of any kind: depth and fields, then the answer.
void put_resource(const httplib::Request& request, httplib::Response& response, json resource) {
  if (request.has_param("fields")) {
    if (Fault f = restconf::select_fields(request.get_param_value("fields"), resource); f) {
      return put(response, f);
    }
  }
  if (request.has_param("depth")) {
    const std::string depth = request.get_param_value("depth");
    if (depth != "unbounded") {
      const bool digits = !depth.empty() && depth.size() <= 5 &&
                          depth.find_first_not_of("0123456789") == std::string::npos;
      const int value = digits ? std::stoi(depth) : 0;
      if (value < 1 || value > 65535) {
        return put(response,
                   Fault{400, "protocol", "invalid-value", "depth is 1..65535 or unbounded", {}});
      }
      resource = restconf::limit_depth(resource, static_cast<unsigned>(value));
    }
  }
  put(response, 200, resource);
}

}  // namespace sluice::control
