// Runs a command: asks sluiced, or does by itself what needs no sluiced.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>

#include "control/api/config.h"
#include "control/api/server.h"
#include "control/cli/commands.h"
#include "control/cli/rules_commands.h"
#include "control/cli/rules_update.h"
#include "control/cli/screens.h"
#include "control/cli/text.h"
#include "control/files/read_file.h"

namespace sluice::control {
namespace {

using nlohmann::json;

void print_error(std::ostream& errors, const std::string& error) {
  std::size_t begin = 0;
  while (begin < error.size()) {
    const std::size_t end = std::min(error.find('\n', begin), error.size());
    errors << "sluicectl: " << for_terminal(std::string_view(error).substr(begin, end - begin))
           << "\n";
    begin = end + 1;
  }
}

// Octets as JSON can carry them: each as the character of its number (ISO 8859-1 in UTF-8), so that
// a message that is no UTF-8 arrives as it is.
std::string octet_text(std::string_view octets) {
  std::string out;
  out.reserve(octets.size());
  for (const char c : octets) {
    const auto o = static_cast<std::uint8_t>(c);
    if (o < 0x80) {
      out += c;
    } else {
      out += static_cast<char>(0xc0 | (o >> 6));
      out += static_cast<char>(0x80 | (o & 0x3f));
    }
  }
  return out;
}

int config_validate(const json& arguments, bool as_json, std::ostream& out, std::ostream& errors) {
  const auto configuration = load_configuration(arguments["file"].get<std::string>());
  if (as_json) {
    json result = {{"valid", static_cast<bool>(configuration)}};
    if (!configuration) result["error"] = configuration.error();
    out << result.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
  } else if (configuration) {
    out << "valid\n";
  }
  if (configuration) return kDone;
  print_error(errors, configuration.error());
  return kFailed;
}

}  // namespace

int run_command(const Command& command, const json& given, const RunOptions& options,
                std::ostream& out, std::ostream& errors) {
  const bool as_json = options.as_json;
  json arguments = given;
  arguments.update(command.fixed);
  if (command.words == "rules check") return rules_check(arguments, options, out, errors);
  if (command.words == "rules update") return rules_update(arguments, options, out, errors);
  if (command.words == "rules test") return rules_test(arguments, options, out, errors);
  if (command.words == "config validate" && arguments.contains("file")) {
    return config_validate(arguments, as_json, out, errors);
  }
  std::string_view request = command.request;
  if (command.words == "config validate") {
    request = "config commit";
    arguments["check"] = true;
  }
  if (request == "config get" && as_json) arguments["form"] = "json";
  if (request == "config edit") {
    arguments = {
        {"operations", json::array({{{"operation", arguments["operation"]},
                                     {"words", arguments.value("words", json::array())}}})}};
  }
  if (command.words == "config load") {
    const std::string path = arguments["file"].get<std::string>();
    auto text = read_file(path, ApiServer::kMaxRequest / 2);
    if (!text) {
      print_error(errors, text.error());
      return kFailed;
    }
    arguments.erase("file");
    arguments["name"] = path;
    arguments["text"] = std::move(*text);
  }
  if (const auto file = arguments.find("message_file"); file != arguments.end()) {
    auto text = read_file(file->get<std::string>(), ApiServer::kMaxRequest / 2);
    if (!text) {
      print_error(errors, text.error());
      return kFailed;
    }
    arguments.erase("message_file");
    arguments["message"] = octet_text(*text);
  }
  std::string to_file;
  if (const auto file = arguments.find("to_file"); file != arguments.end()) {
    to_file = file->get<std::string>();
    arguments.erase("to_file");
  }
  if (is_screen(command)) return run_screen(command, arguments, options, out, errors);
  const bool listens = command.request == "monitor";
  auto client = ApiClient::connect(options.socket, listens ? 0 : command.timeout_seconds);
  if (!client) {
    print_error(errors, client.error());
    return kFailed;
  }
  if (auto s = client->send({{"command", request}, {"arguments", arguments}}); !s) {
    print_error(errors, s.error());
    return kFailed;
  }
  const auto answer = client->receive();
  if (!answer) {
    print_error(errors, answer.error());
    return kFailed;
  }
  if (!answer->value("ok", false)) {
    print_error(errors, answer->value("error", std::string("sluiced gave no reason")));
    return kFailed;
  }
  if (listens) return watch_events(*client, arguments, options, out, errors);
  const json result = answer->value("result", json::object());
  if (!to_file.empty()) {
    std::ofstream file(to_file, std::ios::binary | std::ios::trunc);
    file << result.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
    file.close();
    if (!file) {
      print_error(errors, to_file + ": cannot be written");
      return kFailed;
    }
    out << for_terminal(to_file) << "\n";
  } else if (as_json && request == "config get") {
    out << result.value("text", std::string{});
  } else if (as_json) {
    out << result.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
  } else if (command.render != nullptr) {
    out << command.render(result, {.width = options.width});
  }
  if (command.request == "request self-test" && !result.value("good", false)) return kFailed;
  return answer->value("partial", false) ? kPartial : kDone;
}

}  // namespace sluice::control
