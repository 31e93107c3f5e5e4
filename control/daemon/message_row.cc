#include "control/daemon/message_row.h"

#include "control/daemon/request_values.h"

namespace sluice::control {
namespace {

using nlohmann::json;

const json& member(const json& object, const char* key) {
  static const json kNothing;
  if (!object.is_object()) return kNothing;
  const auto found = object.find(key);
  return found == object.end() ? kNothing : *found;
}
std::string text(const json& object, const char* key) {
  const json& v = member(object, key);
  return v.is_string() ? v.get<std::string>() : std::string{};
}

}  // namespace

json message_row(const json& event, std::uint64_t event_id, std::uint64_t run) {
  const json& smtp = member(event, "smtp");
  const json& sluice = member(event, "sluice");
  json row = {{"event", event_id}, {"run", run}};
  const auto take = [&row](const json& from, const char* key) {
    const json& v = member(from, key);
    if (!v.is_null()) row[key] = v;
  };
  for (const char* key : {"timestamp", "src_ip", "dest_ip", "flow_id", "in_iface", "visibility"}) {
    take(event, key);
  }
  for (const char* key : {"mail_from", "rcpt_to", "rcpt_refused", "size", "outcome", "reply"}) {
    take(smtp, key);
  }
  for (const char* key : {"verdict", "would_have", "reason", "score", "rules", "policy_group"}) {
    take(sluice, key);
  }
  const json& email = member(event, "email");
  for (const char* key : {"subject", "message_id"}) take(email, key);
  if (const std::string user = text(member(smtp, "auth"), "user"); !user.empty()) {
    row["account"] = user;
  }
  return row;
}

JournalRow journal_row(const json& event, std::uint64_t event_id, std::uint64_t run,
                       const Address& source, std::uint64_t wall) {
  JournalRow row;
  row.wall = wall;
  row.source = source;
  const json& smtp = member(event, "smtp");
  row.sender = address_only(text(smtp, "mail_from"));
  for (const json& r : member(smtp, "rcpt_to")) {
    if (r.is_string()) row.recipients.push_back(address_only(r.get<std::string>()));
  }
  for (const json& r : member(smtp, "rcpt_refused")) {
    if (r.is_object()) row.recipients.push_back(address_only(text(r, "to")));
  }
  row.outcome = text(smtp, "outcome");
  row.body = message_row(event, event_id, run).dump(-1, ' ', false, json::error_handler_t::replace);
  return row;
}

}  // namespace sluice::control
