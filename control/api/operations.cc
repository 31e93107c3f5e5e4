#include "control/api/operations.h"

#include <algorithm>

namespace sluice::control {
namespace {

using In = OperationInput;

constexpr In kHostOrder[] = {
    {"prefix", "prefix", "string", true, "Address or prefix."},
    {"action", "action", "string", true, "allow, limit, tempfail, reject, tarpit or block."},
    {"seconds", "seconds", "uint64", false, "How long; absent: until it is released."},
    {"rate", "rate", "uint64", false, "Of a limit: messages an hour."},
    {"burst", "burst", "uint64", false, "Of a limit: messages at once."},
    {"ticket", "ticket", "string", false, "Number of the ticket, for the audit log."},
    {"comment", "comment", "string", false, "Why, for the audit log."},
    {"force", "force", "boolean", false, "Accepts a prefix that holds every address."}};
constexpr In kHostRelease[] = {
    {"prefix", "prefix", "string", true, "Address or prefix."},
    {"ticket", "ticket", "string", false, "Number of the ticket, for the audit log."},
    {"comment", "comment", "string", false, "Why, for the audit log."}};
constexpr In kWire[] = {{"wire", "wire", "string", true, "Name of the wire."},
                        {"last", "last", "uint64", false, "Seconds; default 3600."},
                        {"interval", "interval", "uint64", false, "Seconds of one row."}};
constexpr In kSelfTest[] = {
    {"wire", "wire", "string", false, "Name of a wire; absent: the appliance."},
    {"probes", "probes", "uint64", false, "Probes of a wire."}};
constexpr In kMessages[] = {{"from", "from", "string", false, "Pattern of the sender."},
                            {"to", "to", "string", false, "Pattern of a recipient."},
                            {"host", "host", "string", false, "Address or prefix of the client."},
                            {"outcome", "outcome", "string", false, "Pattern of the outcome."},
                            {"last", "last", "uint64", false, "Only of the last so many seconds."},
                            {"limit", "limit", "uint64", false, "Most rows."}};
constexpr In kEvents[] = {{"type", "type", "string", false, "Value of event_type."},
                          {"last", "last", "uint64", false, "Only of the last so many seconds."},
                          {"limit", "limit", "uint64", false, "Most rows."}};
constexpr In kWhat[] = {{"what", "what", "string", true, "Address, flow or event number."}};
constexpr In kTestPolicy[] = {
    {"host", "host", "string", true, "Address."},
    {"account", "user", "string", false, "User of AUTH."},
    {"message", "message", "string", false, "RFC 5322 message, judged by the rules in force."}};
constexpr In kCapture[] = {
    {"host", "host", "string", true, "Address or prefix."},
    {"reason", "reason", "string", true, "Why, for the audit log."},
    {"seconds", "seconds", "uint64", false, "How long; default 600."},
    {"full", "full", "boolean", false, "Payloads too: needs the role admin."}};
constexpr In kCaptureStop[] = {{"id", "id", "uint64", true, "Number of the capture."}};
constexpr In kEvidence[] = {
    {"host", "host", "string", true, "Address."},
    {"reason", "reason", "string", true, "Why, for the audit log."},
    {"last", "last", "uint64", false, "Messages of the last so many seconds; default a day."}};
constexpr In kLast[] = {{"last", "last", "uint64", false, "Only of the last so many seconds."},
                        {"limit", "limit", "uint64", false, "Most rows."}};
constexpr In kComment[] = {{"comment", "comment", "string", false, "Why, for the audit log."}};

constexpr Operation kOperations[] = {
    {"host-order", "host order", "Orders how a host's mail is treated.", kHostOrder},
    {"host-release", "host release", "Takes back orders and decisions for a host or prefix.",
     kHostRelease},
    {"self-test", "request self-test", "Checks that everything works.", kSelfTest},
    {"show-messages", "show messages", "Messages, latest first.", kMessages},
    {"show-events", "show events", "Events, latest first.", kEvents},
    {"show-audit", "show audit", "Who did what, latest first.", kLast},
    {"show-wire", "show wire", "One wire and what passed.", kWire},
    {"explain-host", "explain host", "Why a host is treated as it is.", kWhat},
    {"explain-flow", "explain flow", "All that is known of a flow.", kWhat},
    {"explain-event", "explain event", "An event, its rules and its host.", kWhat},
    {"test-policy", "test policy", "Which policy would apply to a host.", kTestPolicy},
    {"capture-start", "request capture", "Copies frames of one host's mail flows to a file.",
     kCapture},
    {"capture-stop", "request capture-stop", "Ends a capture early.", kCaptureStop},
    {"evidence", "request evidence", "All that is held against a host.", kEvidence},
    {"rules-reload", "rules load", "Reads the rule files in use again.", kComment},
};

constexpr StateView kViews[] = {
    {"version", "show version", "Versions of the processes."},
    {"hosts", "show hosts", "Hosts, their standing, orders and lists."},
    {"flows", "show flows", "Live mail flows."},
    {"policies", "show policies", "Groups, thresholds, what is in force."},
    {"rules", "show rules", "Rules by hits, and those refused."},
    {"interfaces", "show interfaces", "Ports of the wires."},
    {"statistics", "show stats", "Counters of all parts."},
    {"would-have", "show would-have", "What monitor mode and guards held back."},
    {"captures", "show captures", "Captures of frames."},
};

}  // namespace

std::span<const Operation> operations() { return kOperations; }
std::span<const StateView> state_views() { return kViews; }

const Operation* find_operation(std::string_view name) {
  const auto* found = std::find_if(std::begin(kOperations), std::end(kOperations),
                                   [name](const Operation& o) { return o.name == name; });
  return found == std::end(kOperations) ? nullptr : found;
}

std::string operations_yang() {
  std::string y;
  const auto text = [&y](const char* indent, std::string_view help) {
    y += std::string(indent) + "description\n" + indent + "  \"" + std::string(help) + "\";\n";
  };
  y += "module " + std::string(kOperationsModule) + " {\n  yang-version 1.1;\n  namespace \"" +
       std::string(kOperationsNamespace) + "\";\n  prefix sluice-ops;\n\n";
  y += "  organization \"Sluice\";\n  contact \"https://localhost/sluice\";\n";
  text("  ",
       "State and actions of a Sluice appliance. Results are JSON as sluicectl gives it with "
       "--json.");
  y += "\n  revision " + std::string(kOperationsRevision) +
       " {\n    description \"First version.\";\n  }\n\n";
  y += "  container state {\n    config false;\n";
  text("    ", "What is, at the moment at which it is read.");
  for (const StateView& v : kViews) {
    y += "    anydata " + std::string(v.name) + " {\n";
    text("      ", v.help);
    y += "    }\n";
  }
  y += "  }\n";
  for (const Operation& o : kOperations) {
    y += "\n  rpc " + std::string(o.name) + " {\n";
    text("    ", o.help);
    y += "    input {\n";
    for (const In& in : o.inputs) {
      y += "      leaf " + std::string(in.name) + " {\n        type " + std::string(in.type) +
           ";\n" + (in.mandatory ? "        mandatory true;\n" : "");
      text("        ", in.help);
      y += "      }\n";
    }
    y += "    }\n    output {\n      anydata result {\n";
    text("        ", "What was done or found.");
    y += "      }\n    }\n  }\n";
  }
  return y + "}\n";
}

}  // namespace sluice::control
