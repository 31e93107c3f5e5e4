#include "control/events/eve.h"

#include <arpa/inet.h>

#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

namespace sluice::control {
namespace {

using Json = nlohmann::ordered_json;
using contract::EventReader;
using contract::EventType;
using contract::Field;

constexpr char kHex[] = "0123456789abcdef";

std::string hex(Bytes b) {
  std::string s;
  s.reserve(b.size() * 2);
  for (const std::uint8_t c : b) {
    s += kHex[c >> 4];
    s += kHex[c & 15];
  }
  return s;
}

// Length of the valid UTF-8 sequence at the front of `s`, 0 when there is none.
std::size_t utf8_length(std::string_view s) {
  const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(s[i]); };
  const std::uint8_t c = at(0);
  if (c < 0x80) return 1;
  std::size_t length;
  std::uint8_t low = 0x80;
  std::uint8_t high = 0xbf;
  if (c >= 0xc2 && c <= 0xdf) {
    length = 2;
  } else if (c >= 0xe0 && c <= 0xef) {
    length = 3;
    if (c == 0xe0) low = 0xa0;
    if (c == 0xed) high = 0x9f;
  } else if (c >= 0xf0 && c <= 0xf4) {
    length = 4;
    if (c == 0xf0) low = 0x90;
    if (c == 0xf4) high = 0x8f;
  } else {
    return 0;
  }
  if (s.size() < length || at(1) < low || at(1) > high) return 0;
  for (std::size_t i = 2; i < length; ++i)
    if (at(i) < 0x80 || at(i) > 0xbf) return 0;
  return length;
}

template <std::size_t N>
std::string name_of(const std::string_view (&names)[N], std::uint64_t value) {
  return value < N ? std::string(names[value]) : "unknown";
}

std::string protocol_name(std::uint8_t protocol) {
  switch (protocol) {
    case 1:
      return "ICMP";
    case 6:
      return "TCP";
    case 17:
      return "UDP";
    case 58:
      return "IPv6-ICMP";
    default:
      return std::to_string(protocol);
  }
}

std::string tls_version(std::uint64_t v) {
  switch (v) {
    case 0x0300:
      return "SSLv3";
    case 0x0301:
      return "TLSv1";
    case 0x0302:
      return "TLS 1.1";
    case 0x0303:
      return "TLS 1.2";
    case 0x0304:
      return "TLS 1.3";
    default:
      return "UNDETERMINED";
  }
}

// Builds the object of one record. A field that opens a group makes `last_` the object that the
// group's fields go into.
class Builder {
 public:
  Builder(const contract::EventHeader& header, const EveContext& context)
      : header_(header), context_(context) {}

  std::string build(EventReader& reader) {
    if (!type_name()) return {};
    begin();
    while (const auto item = reader.next()) take(*item);
    finish();
    return root_.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

 private:
  const char* type_name() const {
    switch (header_.type) {
      case EventType::smtp:
        return "smtp";
      case EventType::alert:
        return "alert";
      case EventType::fileinfo:
        return "fileinfo";
      case EventType::anomaly:
        return "anomaly";
      case EventType::tls:
        return "tls";
      case EventType::flow:
        return "flow";
      case EventType::drop:
        return "drop";
      case EventType::wire:
        return "wire";
      case EventType::flow_snapshot:
      case EventType::snapshot_end:
        break;
    }
    return nullptr;
  }

  void begin() {
    root_["timestamp"] = eve_timestamp(header_.wall_time);
    if (header_.flow_id) root_["flow_id"] = header_.flow_id;
    if (!context_.host.empty()) root_["host"] = context_.host;
    const EveWire* wire =
        header_.wire < context_.wires.size() ? &context_.wires[header_.wire] : nullptr;
    if (wire) {
      const std::string& port = header_.side == 0 ? wire->inside : wire->outside;
      if (!port.empty()) root_["in_iface"] = port;
    }
    if (header_.frame_number) root_["pcap_cnt"] = header_.frame_number;
    root_["event_type"] = type_name();
    if (header_.vlan_count) {
      Json list = Json::array();
      for (std::size_t i = 0; i < header_.vlan_count && i < 3; ++i) list.push_back(header_.vlan[i]);
      root_["vlan"] = std::move(list);
    }
    if (header_.protocol) {
      root_["src_ip"] = address_text(header_.source);
      // A datagram that belongs to no flow has no ports that could be told.
      const bool ports = header_.flow_id || header_.source_port || header_.destination_port;
      if (ports) root_["src_port"] = header_.source_port;
      root_["dest_ip"] = address_text(header_.destination);
      if (ports) root_["dest_port"] = header_.destination_port;
      root_["proto"] = protocol_name(header_.protocol);
      root_["direction"] =
          name_of(contract::kTrafficDirectionNames, static_cast<std::uint64_t>(header_.direction));
      root_["visibility"] =
          name_of(contract::kVisibilityNames, static_cast<std::uint64_t>(header_.visibility));
    }
    switch (header_.type) {
      case EventType::smtp:
      case EventType::alert:
      case EventType::fileinfo:
        root_["app_proto"] = "smtp";
        break;
      default:
        break;
    }
    if (header_.type == EventType::wire && wire) root_["wire"]["name"] = wire->name;
    if (header_.type == EventType::fileinfo) {
      root_["fileinfo"]["gaps"] = false;
      root_["fileinfo"]["state"] = "CLOSED";
      root_["fileinfo"]["stored"] = false;
    }
  }

  Json text(const EventReader::Item& item) const { return printable(item.text()); }

  void append(Json& list, Json value) {
    if (!list.is_array()) list = Json::array();
    list.push_back(std::move(value));
  }

  void take(const EventReader::Item& item) {
    switch (item.field) {
      case Field::tx_id:
        root_["tx_id"] = item.number();
        break;
      case Field::community_id:
        root_["community_id"] = text(item);
        break;
      case Field::app_proto:
        root_["app_proto"] = text(item);
        break;
      default:
        take_smtp(item);
        break;
    }
  }

  void take_smtp(const EventReader::Item& item) {
    Json& smtp = header_.type == EventType::smtp ? root_["smtp"] : unused_;
    switch (item.field) {
      case Field::helo:
        smtp["helo"] = text(item);
        break;
      case Field::mail_from:
        smtp["mail_from"] = text(item);
        break;
      case Field::mail_parameters:
        smtp["mail_parameters"] = text(item);
        break;
      case Field::rcpt_to:
        append(smtp["rcpt_to"], text(item));
        break;
      case Field::rcpt_refused:
        append(smtp["rcpt_refused"], Json{{"to", text(item)}});
        break;
      case Field::rcpt_code:
        if (smtp.contains("rcpt_refused")) smtp["rcpt_refused"].back()["code"] = item.number();
        break;
      case Field::auth_mechanism:
        smtp["auth"]["mechanism"] = text(item);
        break;
      case Field::auth_user:
        smtp["auth"]["user"] = text(item);
        break;
      case Field::auth_result:
        smtp["auth"]["result"] = item.number();
        break;
      case Field::starttls:
        smtp["starttls"] = item.number() != 0;
        break;
      case Field::starttls_offered:
        smtp["starttls_offered"] = item.number() != 0;
        break;
      case Field::via:
        smtp["via"] = text(item);
        break;
      case Field::size:
        smtp["size"] = item.number();
        break;
      case Field::reply_code:
        smtp["reply"]["code"] = item.number();
        break;
      case Field::reply_text:
        smtp["reply"]["text"] = text(item);
        break;
      case Field::outcome:
        smtp["outcome"] = name_of(contract::kOutcomeNames, item.number());
        break;
      case Field::sha256:
        smtp["sha256"] = hex(item.value);
        break;
      default:
        take_email(item);
        break;
    }
  }

  void take_email(const EventReader::Item& item) {
    Json& email = header_.type == EventType::smtp ? root_["email"] : unused_;
    switch (item.field) {
      case Field::email_status:
        email["status"] = text(item);
        break;
      case Field::email_from:
        email["from"] = text(item);
        break;
      case Field::email_to:
        append(email["to"], text(item));
        break;
      case Field::email_cc:
        append(email["cc"], text(item));
        break;
      case Field::email_subject:
        // EVE's form is one string; a second Subject is an anomaly and stands beside it.
        if (!email.contains("subject"))
          email["subject"] = text(item);
        else
          append(root_["sluice"]["other_subjects"], text(item));
        break;
      case Field::email_date:
        email["date"] = text(item);
        break;
      case Field::email_message_id:
        email["message_id"] = text(item);
        break;
      case Field::email_x_mailer:
        email["x_mailer"] = text(item);
        break;
      case Field::email_url:
        append(email["url"], text(item));
        break;
      case Field::attachment:
        take_attachment(item);
        break;
      case Field::attachment_type:
        attachment(header_.type == EventType::fileinfo ? "magic" : "type") = text(item);
        break;
      case Field::attachment_size:
        attachment("size") = item.number();
        break;
      case Field::attachment_md5:
        attachment("md5") = hex(item.value);
        break;
      case Field::attachment_sha256:
        attachment("sha256") = hex(item.value);
        break;
      case Field::attachment_cut:
        if (header_.type != EventType::fileinfo || item.number() == 0) break;
        root_["fileinfo"]["state"] = "TRUNCATED";
        root_["fileinfo"]["gaps"] =
            item.number() == static_cast<std::uint64_t>(contract::AttachmentCut::gap);
        break;
      case Field::attachment_other_name:
        if (header_.type == EventType::fileinfo) break;  // EVE has one name
        append(email["attachment"], text(item));
        attachment("other_name") = text(item);
        break;
      default:
        take_sluice(item);
        break;
    }
  }

  void take_attachment(const EventReader::Item& item) {
    if (header_.type == EventType::fileinfo) {
      root_["fileinfo"]["filename"] = text(item);
      return;
    }
    if (!item.value.empty()) append(root_["email"]["attachment"], text(item));
    append(root_["sluice"]["attachments"], Json{{"name", text(item)}});
  }
  Json& attachment(const char* key) {
    if (header_.type == EventType::fileinfo) return root_["fileinfo"][key];
    Json& list = root_["sluice"]["attachments"];
    if (!list.is_array() || list.empty()) return unused_[key];
    return list.back()[key];
  }

  void take_sluice(const EventReader::Item& item) {
    Json& sluice = root_["sluice"];
    switch (item.field) {
      case Field::score:
        sluice["score"] = item.signed_number() / 100.0;
        break;
      case Field::rule:
        append(sluice["rules"], text(item));
        break;
      case Field::verdict:
        verdict_ = name_of(contract::kVerdictNames, item.number());
        break;
      case Field::reason:
        sluice["reason"] = text(item);
        break;
      case Field::entity:
        sluice["entity"] = text(item);
        break;
      case Field::policy_group:
        sluice["policy_group"] = text(item);
        break;
      case Field::client_via:
        sluice["client"]["via"] = text(item);
        break;
      case Field::client_address:
        if (item.value.size() == 16)
          sluice["client"]["addr"] = address_text(Address::from_v6(item.value.data()));
        break;
      case Field::client_port:
        sluice["client"]["port"] = item.number();
        break;
      case Field::client_name:
        sluice["client"]["name"] = text(item);
        break;
      case Field::client_helo:
        sluice["client"]["helo"] = text(item);
        break;
      case Field::client_login:
        sluice["client"]["login"] = text(item);
        break;
      default:
        if (sluice.empty()) root_.erase("sluice");
        take_alert(item);
        break;
    }
  }

  void take_alert(const EventReader::Item& item) {
    Json& alert = header_.type == EventType::alert ? root_["alert"] : unused_;
    switch (item.field) {
      case Field::alert_action:
        alert["action"] = item.number() ? "blocked" : "allowed";
        break;
      case Field::alert_gid:
        alert["gid"] = item.number();
        break;
      case Field::alert_sid:
        alert["signature_id"] = item.number();
        break;
      case Field::alert_rev:
        alert["rev"] = item.number();
        break;
      case Field::alert_signature:
        alert["signature"] = text(item);
        break;
      case Field::alert_category:
        alert["category"] = text(item);
        break;
      case Field::alert_severity:
        alert["severity"] = item.number();
        break;
      case Field::alert_where:
        root_["sluice"]["where"] = text(item);
        break;
      default:
        take_other(item);
        break;
    }
  }

  void take_other(const EventReader::Item& item) {
    switch (item.field) {
      case Field::anomaly_kind:
        take_anomaly(item.number());
        break;
      case Field::tls_sni:
        root_["tls"]["sni"] = text(item);
        break;
      case Field::tls_version:
        root_["tls"]["version"] = tls_version(item.number());
        break;
      case Field::tls_alpn:
        append(root_["tls"]["alpn"], text(item));
        break;
      case Field::tls_ja4:
        root_["tls"]["ja4"] = text(item);
        break;
      case Field::tls_certificate_name:
        // EVE's own form: the subject, and the list of alternative names.
        if (!std::exchange(subject_taken_, true)) {
          if (!item.value.empty()) root_["tls"]["subject"] = "CN=" + printable(item.text());
        } else {
          append(root_["tls"]["subjectaltname"], text(item));
        }
        break;
      case Field::tls_via:
        root_["tls"]["via"] = text(item);
        break;
      case Field::packets_to_server:
        root_["flow"]["pkts_toserver"] = item.number();
        break;
      case Field::packets_to_client:
        root_["flow"]["pkts_toclient"] = item.number();
        break;
      case Field::bytes_to_server:
        root_["flow"]["bytes_toserver"] = item.number();
        break;
      case Field::bytes_to_client:
        root_["flow"]["bytes_toclient"] = item.number();
        break;
      case Field::flow_start:
        flow_start_ = item.number();
        break;
      case Field::flow_end:
        flow_end_ = item.number();
        break;
      case Field::flow_state:
        root_["flow"]["state"] = text(item);
        break;
      case Field::flow_reason:
        root_["flow"]["reason"] = text(item);
        break;
      case Field::drop_reason:
        if (item.number() < contract::kDropReasonCount)
          root_["drop"]["reason"] = contract::kDropReasons[item.number()].name;
        break;
      case Field::drop_frames:
        root_["drop"]["frames"] = item.number();
        break;
      case Field::drop_action:
        root_["drop"]["action"] = text(item);
        break;
      case Field::wire_state:
        root_["wire"]["state"] = text(item);
        break;
      case Field::wire_reason:
        root_["wire"]["reason"] = text(item);
        break;
      default:
        break;  // a field of a later version
    }
  }

  void take_anomaly(std::uint64_t kind) {
    if (kind >= contract::kAnomalyCount) return;
    const contract::AnomalyInfo& info = contract::kAnomalies[kind];
    Json& anomaly = root_["anomaly"];
    switch (info.layer) {
      case contract::AnomalyLayer::decode:
        anomaly["type"] = "decode";
        break;
      case contract::AnomalyLayer::stream:
        anomaly["type"] = "stream";
        break;
      case contract::AnomalyLayer::applayer:
        anomaly["type"] = "applayer";
        break;
    }
    anomaly["event"] = info.name;
  }

  void finish() {
    if (!verdict_.empty()) {
      Json& sluice = root_["sluice"];
      const bool enforced = (header_.flags & contract::kEventEnforced) != 0;
      const bool acts = verdict_ != "pass" && verdict_ != "tag";
      sluice["verdict"] = enforced || !acts ? verdict_ : "pass";
      if (!enforced && acts) sluice["would_have"] = verdict_;
    }
    if (header_.type == EventType::smtp) {
      Json& sluice = root_["sluice"];
      sluice["policy_epoch"] = header_.policy_epoch;
      if (header_.flags & contract::kEventTruncated) sluice["truncated"] = true;
    }
    if (flow_start_) root_["flow"]["start"] = eve_timestamp(flow_start_);
    if (flow_end_) {
      root_["flow"]["end"] = eve_timestamp(flow_end_);
      root_["flow"]["age"] = (flow_end_ - flow_start_) / kSecond;
    }
  }

  const contract::EventHeader& header_;
  const EveContext& context_;
  Json root_;
  Json unused_;  // takes fields that do not belong to this type of event
  std::string verdict_;
  bool subject_taken_ = false;
  std::uint64_t flow_start_ = 0;
  std::uint64_t flow_end_ = 0;
};

}  // namespace

std::string printable(std::string_view text) {
  std::string s;
  s.reserve(text.size());
  while (!text.empty()) {
    const std::size_t n = utf8_length(text);
    if (n == 0) {
      const auto c = static_cast<std::uint8_t>(text[0]);
      s += "\\x";
      s += kHex[c >> 4];
      s += kHex[c & 15];
      text.remove_prefix(1);
    } else {
      s += text.substr(0, n);
      text.remove_prefix(n);
    }
  }
  return s;
}

std::string eve_timestamp(std::uint64_t wall_time) {
  const auto seconds = static_cast<std::time_t>(wall_time / kSecond);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%06u+0000", utc.tm_year + 1900,
                utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                static_cast<unsigned>(wall_time % kSecond / kMicrosecond));
  return text;
}

std::string address_text(const Address& address) {
  char text[INET6_ADDRSTRLEN];
  if (address.is_v4())
    inet_ntop(AF_INET, address.v4_octets(), text, sizeof text);
  else
    inet_ntop(AF_INET6, address.octets.data(), text, sizeof text);
  return text;
}

std::string eve_json(Bytes record, const EveContext& context) {
  auto reader = EventReader::open(record);
  if (!reader) return {};
  return Builder(reader->header(), context).build(*reader);
}

}  // namespace sluice::control
