// What is explained, tried and done.
#include <algorithm>

#include "control/cli/render_values.h"

namespace sluice::control {

using namespace render_values;

std::string render_explain_host(const json& r, const RenderOptions& options) {
  Facts f;
  f.add("host", text(r, "host"));
  const json& inside = member(r, "inside");
  if (inside.is_object()) f.add("inside", text(inside, "prefix") + ", " + text(inside, "role"));
  f.add("group", text(r, "group"));
  f.add("treatment", treatment_text(member(r, "treatment")));
  const json& s = member(r, "standing");
  std::string out = f.text();
  if (!s.is_object()) return out + "standing: no message of this host has been seen\n";
  Facts g;
  std::string standing = text(s, "standing");
  if (const std::string would = text(s, "would_have"); !would.empty()) {
    standing += ", would be " + would + " but for " + text(s, "held_back");
  }
  if (const std::string l = left(s); !l.empty()) standing += ", " + l + " left";
  g.add("standing", standing);
  g.add("messages", count(s, "messages") + " (" + count(s, "condemned") + " condemned), " +
                        count(s, "recipients") + " recipients, " + octets_text(number(s, "bytes")));
  g.add("seen", text(s, "first_seen") + " to " + text(s, "last_seen"));
  g.add("arithmetic", text(s, "arithmetic"));
  g.add("last change", text(s, "last_change"));
  out += g.text();
  Table t({{"TIME"}, {"FLOW"}, {"EVENT", true}, {"COUNTS"}, {"WHY", false, true}});
  for (const json& e : member(s, "evidence")) {
    t.add({clock_text(e, "timestamp"), text(e, "flow_id"), text(e, "event"),
           flag(e, "in_window") ? "yes" : "aged", text(e, "why")});
  }
  if (!t.empty()) out += "\n" + t.text(options.width);
  if (!member(r, "events").empty()) out += "\n" + render_events(r, options);
  return out;
}

std::string render_explain_events(const json& r, const RenderOptions& options) {
  if (r.contains("events")) return render_events(r, options);
  std::string out = text(r, "id") + " " + event_line(member(r, "event")) + "\n";
  for (const json& rule : member(r, "rules")) {
    out += for_terminal("rule " + text(rule, "name") + ", score " + text(rule, "score") + ": " +
                        text(rule, "message")) +
           "\n";
  }
  if (r.contains("treatment_now")) {
    out += for_terminal("treatment now: " + treatment_text(member(r, "treatment_now"))) + "\n";
  }
  // The event whole; dump() escapes control characters, for_terminal() what is left.
  const std::string whole = member(r, "event").dump(2, ' ', false, json::error_handler_t::replace);
  std::size_t begin = 0;
  while (begin <= whole.size()) {
    const std::size_t end = std::min(whole.find('\n', begin), whole.size());
    out += for_terminal(std::string_view(whole).substr(begin, end - begin)) + "\n";
    begin = end + 1;
  }
  return out;
}

std::string render_test_policy(const json& r, const RenderOptions& options) {
  Facts f;
  f.add("host",
        text(r, "address") +
            (text(r, "host") == text(r, "address") ? "" : " (counted as " + text(r, "host") + ")"));
  const json& inside = member(r, "inside");
  f.add("inside", inside.is_object() ? text(inside, "prefix") + ", " + text(inside, "role") : "no");
  const json& group = member(r, "group");
  f.add("group", text(group, "name") + " (" + text(group, "by") + ")");
  f.add("thresholds", text(group, "thresholds"));
  f.add("rules",
        "reject means " + text(group, "rule_reject") + ", drop means " + text(group, "rule_drop"));
  f.add("detection", text(r, "detection"));
  const json& account = member(r, "account");
  f.add("account", text(account, "user"));
  for (const json& w : member(r, "wires")) {
    f.add("wire " + text(w, "name"), text(w, "mode"));
  }
  std::string out = f.text();
  Table t({{"ENTRY"}, {"PREFIX", false, true}, {"SAYS", false, true}, {"DECIDES"}});
  for (const json& e : member(r, "entries")) {
    t.add(
        {text(e, "source"), text(e, "prefix"), treatment_text(e), flag(e, "decides") ? "yes" : ""});
  }
  if (!t.empty()) out += "\n" + t.text(options.width);
  if (const json& m = member(r, "message"); m.is_object()) {
    Facts g;
    g.add("message", "verdict " + text(m, "verdict") + ", score " + text(m, "score"));
    g.add("reason", text(m, "reason"));
    out += "\n" + g.text();
    Table rules({{"SID", true}, {"SCORE", true}, {"WHERE"}, {"RULE", false, true}});
    for (const json& rule : member(m, "rules")) {
      rules.add(
          {text(rule, "sid"), text(rule, "score"), text(rule, "where"), text(rule, "message")});
    }
    if (!rules.empty()) out += rules.text(options.width);
  }
  out += "\n" + for_terminal("so: " + text(r, "conclusion")) + "\n";
  for (const json& w : member(r, "why")) out += for_terminal("  " + plain(w)) + "\n";
  return out;
}

// Structured text that a person can read and a program can take in.
std::string render_tech_support(const json& r, const RenderOptions&) {
  const std::string whole = r.dump(2, ' ', false, json::error_handler_t::replace);
  std::string out;
  for (std::size_t begin = 0; begin < whole.size();) {
    const std::size_t end = std::min(whole.find('\n', begin), whole.size());
    out += for_terminal(std::string_view(whole).substr(begin, end - begin)) + "\n";
    begin = end + 1;
  }
  return out;
}

std::string render_evidence(const json& r, const RenderOptions& options) {
  return render_tech_support(r, options);
}

std::string render_capture(const json& r, const RenderOptions&) {
  Facts f;
  f.add("capture", text(r, "id") + " of " + text(r, "host") + ", " +
                       (text(r, "content") == "full" ? "payloads too" : "headers only"));
  f.add("state", text(r, "state") + (left(r).empty() ? "" : ", " + left(r) + " left") +
                     (text(r, "end").empty() ? "" : ": " + text(r, "end")));
  f.add("frames", count(r, "frames"));
  f.add("file", text(r, "file"));
  return f.text();
}

std::string render_captures(const json& r, const RenderOptions& options) {
  Table t({{"ID", true},
           {"HOST", false, true},
           {"CONTENT"},
           {"STATE", false, true},
           {"FRAMES", true},
           {"LEFT OUT", true},
           {"BY"},
           {"REASON AND FILE", false, true}});
  for (const json& c : member(r, "captures")) {
    std::string state = text(c, "state");
    if (const std::string l = left(c); !l.empty()) state += ", " + l + " left";
    if (const std::string end = text(c, "end"); !end.empty()) state = end;
    t.add({text(c, "id"), text(c, "host"), text(c, "content"), state, count(c, "frames"),
           count(c, "left_out"), text(c, "who"), text(c, "reason") + "; " + text(c, "file")});
  }
  return table_or(t, options, "no capture");
}

std::string render_order(const json& r, const RenderOptions&) {
  const auto safe = [&r](const char* key) { return for_terminal(text(r, key)); };
  std::string out = safe("prefix") + ": " + safe("action");
  if (number(r, "rate") != 0) out += " " + count(r, "rate") + "/h";
  const std::string l = left(r);
  out += l.empty() ? ", until released" : ", for " + l;
  if (const std::string ticket = safe("ticket"); !ticket.empty()) out += ", ticket " + ticket;
  out += "\n";
  if (flag(r, "masked")) out += "host bits of the prefix were cleared\n";
  if (!flag(r, "enforced")) {
    out += "nothing is done yet: every wire is in monitor mode\n";
  } else if (!member(r, "monitor_wires").empty()) {
    out += "not on these wires, which are in monitor mode: " + safe("monitor_wires") + "\n";
  }
  if (r.contains("not_written")) out += "not written to disk: " + safe("not_written") + "\n";
  return out;
}

std::string render_release(const json& r, const RenderOptions&) {
  std::string out;
  for (const json& what : member(r, "released")) {
    out += for_terminal(text(r, "prefix") + ": released from " + plain(what)) + "\n";
  }
  if (out.empty()) out = for_terminal(text(r, "prefix")) + ": nothing was ordered or decided\n";
  if (r.contains("still")) {
    out += for_terminal("still: " + treatment_text(member(r, "still"))) + "\n";
  }
  return out;
}

std::string render_commit(const json& r, const RenderOptions&) {
  std::string out;
  for (const json& f : member(r, "faults")) {
    out += for_terminal(text(f, "file") + ":" + text(f, "line") + ": " + text(f, "rule") + ": " +
                        text(f, "text")) +
           (flag(f, "fatal") ? " (refused)\n" : " (runs)\n");
  }
  for (const json& l : member(r, "lists")) {
    out += for_terminal("list " + text(l, "name") + ": " + count(l, "prefixes") + " prefixes, " +
                        count(l, "bad_lines") + " bad lines" +
                        (text(l, "error").empty() ? "" : "; kept as it was: " + text(l, "error"))) +
           "\n";
    for (const json& f : member(l, "faults")) {
      out += "  line " + text(f, "line") + ": " + for_terminal(text(f, "text")) + "\n";
    }
  }
  out += count(r, "rules") + " rules in force, " + count(r, "rules_refused") + " refused; " +
         for_terminal("dataplane: " + text(r, "dataplane"));
  if (r.contains("epoch")) out += ", epoch " + text(r, "epoch");
  out += "\n";
  if (r.contains("not_written")) {
    out += for_terminal("in force, but not written to disk: " + text(r, "not_written")) + "\n";
  }
  return out;
}

std::string render_self_test(const json& r, const RenderOptions& options) {
  Table t({{"CHECK", false, true}, {"RESULT"}, {"DETAIL", false, true}});
  for (const json& c : member(r, "checks")) {
    t.add({text(c, "check"),
           flag(c, "note")   ? "note"
           : flag(c, "pass") ? "pass"
                             : "FAIL",
           text(c, "detail")});
  }
  return t.text(options.width) + (flag(r, "good") ? "all good\n" : "something is wrong\n");
}

}  // namespace sluice::control
