// Takes what is personal out of text and JSON: addresses, mailboxes, accounts, subjects, names. The
// same address has the same stand-in within one report, so that a report can be followed; which one
// it is cannot be told from it. Pure.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace sluice::control {

class Masking {
 public:
  // Addresses, prefixes and mailboxes in a text become stand-ins ("addr-1", "addr-2/24",
  // "mailbox-1").
  std::string text(std::string_view text);
  // The same for every string in it, keys too; members that hold what people wrote or are called
  // are emptied whole ("masked").
  nlohmann::json whole(const nlohmann::json& value);

 private:
  std::string stand_in(const std::string& kind, const std::string& value);
  std::string token(std::string_view token);
  std::map<std::string, std::string> names_;
  std::map<std::string, unsigned> counts_;
};

}  // namespace sluice::control
