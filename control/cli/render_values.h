// Reading answers: a member that is missing or of another type is nothing. For render*.cc only.
#pragma once

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "control/cli/render.h"
#include "control/cli/text.h"

namespace sluice::control::render_values {

using nlohmann::json;

inline const json& member(const json& object, const char* key) {
  static const json kNothing;
  if (!object.is_object()) return kNothing;
  const auto found = object.find(key);
  return found == object.end() ? kNothing : *found;
}

// Any value as text; nothing as nothing.
inline std::string plain(const json& value) {
  if (value.is_null()) return {};
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_number_float()) {
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, "%.2f", value.get<double>());
    return buffer;
  }
  if (value.is_array()) {
    std::string all;
    for (const json& v : value) all += (all.empty() ? "" : ", ") + plain(v);
    return all;
  }
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}
inline std::string text(const json& object, const char* key) { return plain(member(object, key)); }
inline std::uint64_t number(const json& object, const char* key) {
  const json& v = member(object, key);
  return v.is_number_unsigned() ? v.get<std::uint64_t>() : 0;
}
inline std::string count(const json& object, const char* key) {
  return count_text(number(object, key));
}
inline bool flag(const json& object, const char* key) {
  const json& v = member(object, key);
  return v.is_boolean() && v.get<bool>();
}
inline std::string left(const json& object) {
  const json& v = member(object, "seconds_left");
  return v.is_number_unsigned() ? duration_text(v.get<std::uint64_t>()) : std::string{};
}
// "2026-11-25T18:41:34.123456+0000" to "18:41:34".
inline std::string clock_text(const json& object, const char* key) {
  const std::string t = text(object, key);
  return t.size() >= 19 ? t.substr(11, 8) : t;
}

// "name: value" lines.
class Facts {
 public:
  Facts& add(const std::string& name, const std::string& value) {
    if (!value.empty()) out_ += name + ": " + for_terminal(value) + "\n";
    return *this;
  }
  std::string text() const { return out_; }

 private:
  std::string out_;
};

inline std::string table_or(const Table& table, const RenderOptions& options,
                            const char* otherwise) {
  return table.empty() ? std::string(otherwise) + "\n" : table.text(options.width);
}

inline std::string treatment_text(const json& t) {
  std::string out = text(t, "action");
  if (const std::string source = text(t, "source"); !source.empty()) out += ", by " + source;
  if (out.starts_with("none")) return "none";
  if (const std::string who = text(t, "who"); !who.empty()) out += " " + who;
  if (const std::string p = text(t, "prefix"); !p.empty()) out += ", for " + p;
  if (number(t, "rate") != 0) out += ", " + count(t, "rate") + " messages an hour";
  if (const std::string l = left(t); !l.empty()) out += ", " + l + " left";
  if (const std::string ticket = text(t, "ticket"); !ticket.empty()) out += ", ticket " + ticket;
  if (const std::string c = text(t, "comment"); !c.empty()) out += " (" + c + ")";
  return out;
}

}  // namespace sluice::control::render_values
