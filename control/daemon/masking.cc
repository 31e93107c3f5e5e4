#include "control/daemon/masking.h"

#include <algorithm>
#include <cctype>

#include "control/identity/prefix.h"

namespace sluice::control {
namespace {

using nlohmann::json;

// Members whose values are what people wrote, or who they are, whatever they look like.
constexpr std::string_view kPersonal[] = {
    "account",        "attachment",   "attachments", "auth",
    "auth_user",      "ca",           "cc",          "certificate_names",
    "comment",        "community_id", "date",        "description",
    "email",          "fileinfo",     "filename",    "from",
    "helo",           "host",         "mail_from",   "mail_parameters",
    "message_id",     "operator",     "private-key", "rcpt_refused",
    "rcpt_to",        "reason_text",  "reply",       "sensor-name",
    "sha256",         "sni",          "subject",     "subjects",
    "text_of_reply",  "ticket",       "tls",         "to",
    "token",          "tokens",       "url",         "urls",
    "user",           "users",        "who",         "x_mailer",
    "other_subjects", "md5"};

bool personal(std::string_view key) {
  return std::find(std::begin(kPersonal), std::end(kPersonal), key) != std::end(kPersonal);
}

bool in_token(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("._-+:@/%=!#$&'*?^`{|}~").find(c) != std::string_view::npos ||
         static_cast<unsigned char>(c) >= 0x80;
}

}  // namespace

std::string Masking::stand_in(const std::string& kind, const std::string& value) {
  const auto [found, added] = names_.try_emplace(kind + " " + value);
  if (added) found->second = kind + "-" + std::to_string(++counts_[kind]);
  return found->second;
}

std::string Masking::token(std::string_view whole) {
  // What a sentence puts around an address is none of it.
  std::size_t begin = 0;
  std::size_t end = whole.size();
  const std::string_view around = ".,:;!?'`*=~#";
  while (begin < end && around.find(whole[begin]) != std::string_view::npos && whole[begin] != ':')
    ++begin;
  while (end > begin && around.find(whole[end - 1]) != std::string_view::npos &&
         !(end - begin >= 2 && whole[end - 1] == ':' && whole[end - 2] == ':'))
    --end;
  const std::string_view core = whole.substr(begin, end - begin);
  const auto put = [&](const std::string& text) {
    return std::string(whole.substr(0, begin)) + text + std::string(whole.substr(end));
  };
  if (core.find('@') != std::string_view::npos) return put(stand_in("mailbox", std::string(core)));
  if (const auto address = parse_address(core); address) {
    return put(stand_in("addr", to_text(*address)));
  }
  if (const std::size_t slash = core.rfind('/'); slash != std::string_view::npos) {
    if (const auto prefix = parse_prefix(core); prefix) {
      return put(stand_in("addr", to_text(prefix->prefix.address)) +
                 std::string(core.substr(slash)));
    }
  }
  // "192.0.2.1:25", "key=192.0.2.1", "capture-1-192.0.2.1.pcap": an address inside something
  // longer.
  for (std::size_t i = 0; i < core.size(); ++i) {
    const bool starts = (i == 0 || std::isalnum(static_cast<unsigned char>(core[i - 1])) == 0);
    if (!starts || std::isxdigit(static_cast<unsigned char>(core[i])) == 0) continue;
    for (std::size_t size = std::min<std::size_t>(core.size() - i, 45); size >= 2; --size) {
      const std::string_view part = core.substr(i, size);
      if (part.find('.') == std::string_view::npos && part.find("::") == std::string_view::npos &&
          std::count(part.begin(), part.end(), ':') < 4) {
        continue;
      }
      if (i + size < core.size() && std::isalnum(static_cast<unsigned char>(core[i + size])) != 0)
        continue;
      const auto address = parse_address(part);
      if (!address) continue;
      return std::string(whole.substr(0, begin)) + token(core.substr(0, i)) +
             stand_in("addr", to_text(*address)) + token(core.substr(i + size)) +
             std::string(whole.substr(end));
    }
  }
  return std::string(whole);
}

std::string Masking::text(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i;
    while (end < text.size() && in_token(text[end])) ++end;
    if (end > i) {
      out += token(text.substr(i, end - i));
      i = end;
    } else {
      out += text[i++];
    }
  }
  return out;
}

json Masking::whole(const json& value) {
  if (value.is_string()) return text(value.get<std::string>());
  if (value.is_array()) {
    json out = json::array();
    for (const json& v : value) out.push_back(whole(v));
    return out;
  }
  if (value.is_object()) {
    json out = json::object();
    for (const auto& [key, v] : value.items()) {
      if (personal(key) && !v.is_boolean() && !v.is_number()) {
        out[text(key)] = "masked";
      } else {
        out[text(key)] = whole(v);
      }
    }
    return out;
  }
  return value;
}

}  // namespace sluice::control
