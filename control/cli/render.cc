#include "control/cli/render.h"

#include <algorithm>

#include "control/cli/text.h"

namespace sluice::control {
namespace {

using nlohmann::json;

const json& member(const json& object, const char* key) {
  static const json kNothing;
  if (!object.is_object()) return kNothing;
  const auto found = object.find(key);
  return found == object.end() ? kNothing : *found;
}

// Any value as text; nothing as nothing.
std::string plain(const json& value) {
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
std::string text(const json& object, const char* key) { return plain(member(object, key)); }
std::uint64_t number(const json& object, const char* key) {
  const json& v = member(object, key);
  return v.is_number_unsigned() ? v.get<std::uint64_t>() : 0;
}
std::string count(const json& object, const char* key) { return count_text(number(object, key)); }
bool flag(const json& object, const char* key) {
  const json& v = member(object, key);
  return v.is_boolean() && v.get<bool>();
}
std::string left(const json& object) {
  const json& v = member(object, "seconds_left");
  return v.is_number_unsigned() ? duration_text(v.get<std::uint64_t>()) : std::string{};
}
// "2026-11-25T18:41:34.123456+0000" to "18:41:34".
std::string clock_text(const json& object, const char* key) {
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

std::string table_or(const Table& table, const RenderOptions& options, const char* otherwise) {
  return table.empty() ? std::string(otherwise) + "\n" : table.text(options.width);
}

std::string treatment_text(const json& t) {
  std::string out = text(t, "action");
  if (const std::string source = text(t, "source"); !source.empty()) out += ", by " + source;
  if (out.starts_with("none")) return "none";
  if (const std::string p = text(t, "prefix"); !p.empty()) out += ", for " + p;
  if (number(t, "rate") != 0) out += ", " + count(t, "rate") + " messages an hour";
  if (const std::string l = left(t); !l.empty()) out += ", " + l + " left";
  if (const std::string c = text(t, "comment"); !c.empty()) out += " (" + c + ")";
  return out;
}

}  // namespace

std::string render_version(const json& r, const RenderOptions&) {
  const json& d = member(r, "dataplane");
  Facts f;
  f.add("sluiced",
        text(r, "version") + ", process " + text(r, "process") + ", since " + text(r, "started"));
  f.add("model", text(r, "model"));
  f.add("dataplane", flag(d, "connected")
                         ? "process " + text(d, "process") + ", " + text(d, "workers") +
                               " workers, " + text(d, "wires") + " wires, since " +
                               text(d, "started")
                         : "not connected: " + text(d, "reason"));
  return f.text();
}

std::string render_hosts(const json& r, const RenderOptions& options) {
  Table hosts({{"HOST", false, true},
               {"STANDING"},
               {"ACTION"},
               {"LEFT", true},
               {"MESSAGES", true},
               {"CONDEMNED", true},
               {"LAST SEEN"},
               {"WIRE", false, true}});
  for (const json& h : member(r, "hosts")) {
    std::string standing = text(h, "standing");
    if (const std::string would = text(h, "would_have"); !would.empty()) {
      standing += " (" + would + ")";
    }
    hosts.add({text(h, "host"), standing, text(h, "action"), left(h), count(h, "messages"),
               count(h, "condemned"), clock_text(h, "last_seen"), text(h, "wire")});
  }
  std::string out = table_or(hosts, options, "no host has sent mail yet");
  if (!member(r, "orders").empty()) {
    Table orders({{"ORDER FOR"},
                  {"ACTION"},
                  {"RATE/H", true},
                  {"LEFT", true},
                  {"BY", false, true},
                  {"COMMENT", false, true}});
    for (const json& o : member(r, "orders")) {
      orders.add({text(o, "prefix"), text(o, "action"), text(o, "rate"), left(o), text(o, "who"),
                  text(o, "comment")});
    }
    out += "\n" + orders.text(options.width);
  }
  if (!member(r, "lists").empty()) {
    Table lists({{"LIST"}, {"ACTION"}, {"PREFIXES", true}, {"BAD", true}, {"ERROR", false, true}});
    for (const json& l : member(r, "lists")) {
      lists.add({text(l, "name"), text(l, "action"), count(l, "prefixes"), count(l, "bad_lines"),
                 text(l, "error")});
    }
    out += "\n" + lists.text(options.width);
  }
  out += "\n" + count(r, "known") + " hosts known, " + count(r, "acted_on") +
         " acted on by detection (at most " + count(r, "cap") + ")\n";
  return out;
}

std::string render_flows(const json& r, const RenderOptions& options) {
  Table t({{"FLOW"},
           {"CLIENT", false, true},
           {"SERVER", false, true},
           {"SEEN"},
           {"STATE"},
           {"BYTES", true}});
  for (const json& f : member(r, "flows")) {
    const auto end = [&f](const char* ip, const char* port) {
      const std::string address = text(f, ip);
      return (address.find(':') != address.npos ? "[" + address + "]" : address) + ":" +
             text(f, port);
    };
    std::string state = text(f, "state");
    if (state.empty()) state = text(f, "flow_state");
    t.add({text(f, "flow_id"), end("src_ip", "src_port"), end("dest_ip", "dest_port"),
           text(f, "visibility"), state,
           octets_text(number(f, "bytes_toserver") + number(f, "bytes_toclient"))});
  }
  std::string out = table_or(t, options, "no mail flow");
  out += count(r, "total") + " flows";
  if (!flag(r, "whole")) out += " (not all workers answered)";
  return out + "\n";
}

std::string render_messages(const json& r, const RenderOptions& options) {
  Table t({{"EVENT", true},
           {"TIME"},
           {"HOST", false, true},
           {"FROM", false, true},
           {"TO", false, true},
           {"SIZE", true},
           {"OUTCOME"},
           {"VERDICT"}});
  for (const json& m : member(r, "messages")) {
    std::string verdict = text(m, "verdict");
    if (const std::string would = text(m, "would_have"); !would.empty())
      verdict = "(" + would + ")";
    const json& to = member(m, "rcpt_to");
    std::string recipients = to.is_array() && !to.empty() ? plain(to[0]) : "";
    if (to.is_array() && to.size() > 1) recipients += " +" + std::to_string(to.size() - 1);
    t.add({text(m, "event"), clock_text(m, "timestamp"), text(m, "src_ip"), text(m, "mail_from"),
           recipients, octets_text(number(m, "size")), text(m, "outcome"), verdict});
  }
  return table_or(t, options, "no message");
}

std::string event_line(const json& event) {
  const std::string type = text(event, "event_type");
  std::string out = text(event, "timestamp") + " " + type;
  if (const std::string src = text(event, "src_ip"); !src.empty()) {
    out += " " + src;
    if (event.contains("dest_ip")) {
      out += ":" + text(event, "src_port") + " > " + text(event, "dest_ip") + ":" +
             text(event, "dest_port");
    }
  }
  const json& body = member(event, type.c_str());
  const json& sluice = member(event, "sluice");
  const auto say = [&out](const std::string& name, const std::string& value) {
    if (!value.empty()) out += " " + name + "=" + value;
  };
  if (type == "smtp") {
    say("from", text(body, "mail_from"));
    say("to", text(body, "rcpt_to"));
    say("size", text(body, "size"));
    say("outcome", text(body, "outcome"));
    say("verdict", text(sluice, "verdict"));
    say("would_have", text(sluice, "would_have"));
    say("rules", text(sluice, "rules"));
  } else if (type == "alert") {
    say("sid", text(body, "signature_id"));
    say("action", text(body, "action"));
    say("signature", text(body, "signature"));
  } else if (type == "entity") {
    say("id", text(body, "id"));
    say("from", text(body, "from"));
    say("to", text(body, "to"));
    say("action", text(body, "action"));
    say("would_have", text(body, "would_have"));
    say("until", text(body, "until"));
    say("operator", text(body, "operator"));
    say("why", text(body, "arithmetic"));
  } else if (type == "stats") {
    say("counters", std::to_string(body.size()));
  } else if (body.is_object()) {
    for (const auto& [name, value] : body.items()) {
      if (!value.is_object()) say(name, plain(value));
    }
  }
  return for_terminal(out);
}

std::string render_events(const json& r, const RenderOptions&) {
  std::string out;
  for (const json& e : member(r, "events")) {
    out += text(e, "id") + " " + event_line(member(e, "event")) + "\n";
  }
  return out.empty() ? "no event\n" : out;
}

std::string render_policies(const json& r, const RenderOptions& options) {
  Facts f;
  f.add("epoch", text(r, "epoch") + ", " + count(r, "adoptions") + " adoptions, " +
                     count(r, "refusals") + " refusals");
  f.add("last refusal", text(r, "last_refusal"));
  f.add("image", octets_text(number(r, "image_bytes")) + ", " + count(r, "rules") + " rules");
  Table t({{"GROUP", false, true},
           {"MEMBERS", true},
           {"TAG", true},
           {"TEMPFAIL", true},
           {"REJECT", true},
           {"RULE REJECT"},
           {"RULE DROP"}});
  const auto score = [](const json& g, const char* key) {
    const std::string s = text(g, key);
    return s.empty() ? std::string("-") : s;
  };
  for (const json& g : member(r, "groups")) {
    t.add({text(g, "name"), count(g, "members"), score(g, "tag_score"), score(g, "tempfail_score"),
           score(g, "reject_score"), text(g, "rule_reject"), text(g, "rule_drop")});
  }
  const json& d = member(r, "detection");
  std::string out = f.text() + "\n" + t.text(options.width) + "\n";
  out += "detection: " + std::string(flag(d, "enabled") ? "on" : "off") + ", limit from " +
         count(d, "limit_threshold") + " and block from " + count(d, "block_threshold") +
         " condemned in " + duration_text(number(d, "window_seconds")) + "\n";
  out += "  limit " + count(d, "limit_rate") + "/h for " +
         duration_text(number(d, "limit_seconds")) + ", block for " +
         duration_text(number(d, "block_seconds")) + ", acted on " + count(d, "acted_on") +
         " of at most " + count(d, "cap") + " hosts\n";
  return out;
}

std::string render_rules(const json& r, const RenderOptions& options) {
  Table t({{"SID", true},
           {"NAME", false, true},
           {"ACTION"},
           {"SCORE", true},
           {"HITS", true},
           {"MESSAGE", false, true}});
  for (const json& rule : member(r, "rules")) {
    t.add({text(rule, "sid"), text(rule, "name"), text(rule, "action"), text(rule, "score"),
           count(rule, "hits"), text(rule, "message")});
  }
  std::string out = table_or(t, options, "no rules");
  for (const json& f : member(r, "faults")) {
    out += for_terminal(text(f, "file") + ":" + text(f, "line") + ": " + text(f, "rule") + ": " +
                        text(f, "text")) +
           (flag(f, "fatal") ? " (refused)\n" : " (runs)\n");
  }
  out += count(r, "count") + " rules, " + count(r, "refused") + " refused, compiled in " +
         text(r, "compile_seconds") + " s\n";
  return out;
}

std::string render_interfaces(const json& r, const RenderOptions& options) {
  Table t({{"INTERFACE"},
           {"WIRE", false, true},
           {"SIDE"},
           {"LINK"},
           {"XDP"},
           {"RX", true},
           {"TX", true},
           {"DROPPED", true}});
  for (const json& i : member(r, "interfaces")) {
    t.add({text(i, "name"), text(i, "wire"), text(i, "side"),
           i.contains("link") ? (flag(i, "link") ? "up" : "down") : "?", text(i, "xdp"),
           octets_text(number(i, "rx_bytes")), octets_text(number(i, "tx_bytes")),
           count_text(number(i, "rx_dropped") + number(i, "tx_dropped"))});
  }
  return table_or(t, options, "no interface: the wires have no ports yet");
}

std::string render_stats(const json& r, const RenderOptions& options) {
  if (r.contains("text")) return text(r, "text");  // Prometheus
  Table t({{"COUNTER", false, true}, {"VALUE", true}});
  for (const auto& [name, value] : member(r, "stats").items()) {
    if (value.is_object()) {
      for (const auto& [label, v] : value.items()) {
        std::string title = name;
        title.append(" ").append(label);
        t.add({std::move(title),
               v.is_number_unsigned() ? count_text(v.get<std::uint64_t>()) : plain(v)});
      }
    } else {
      t.add({name,
             value.is_number_unsigned() ? count_text(value.get<std::uint64_t>()) : plain(value)});
    }
  }
  return t.text(options.width);
}

std::string render_config(const json& r, const RenderOptions&) {
  return r.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string render_would_have(const json& r, const RenderOptions& options) {
  Table wires(
      {{"WIRE"}, {"MODE"}, {"MESSAGES", true}, {"WOULD HAVE STOPPED", true}, {"STOPPED", true}});
  for (const json& w : member(r, "wires")) {
    wires.add({text(w, "name"), text(w, "mode"), count(w, "messages"), count(w, "would_have"),
               count(w, "blocked")});
  }
  std::string out = wires.text(options.width);
  if (!member(r, "hosts").empty()) {
    Table hosts({{"HOST", false, true},
                 {"WOULD BE"},
                 {"HELD BACK BY", false, true},
                 {"LEFT", true},
                 {"CONDEMNED", true}});
    for (const json& h : member(r, "hosts")) {
      hosts.add({text(h, "host"), text(h, "would_have"), text(h, "held_back"), left(h),
                 count(h, "condemned")});
    }
    out += "\n" + hosts.text(options.width);
  }
  if (!member(r, "messages").empty()) {
    Table messages({{"EVENT", true},
                    {"TIME"},
                    {"HOST", false, true},
                    {"FROM", false, true},
                    {"WOULD"},
                    {"WHY", false, true}});
    for (const json& m : member(r, "messages")) {
      messages.add({text(m, "event"), clock_text(m, "timestamp"), text(m, "src_ip"),
                    text(m, "mail_from"), text(m, "would_have"), text(m, "reason")});
    }
    out += "\n" + messages.text(options.width);
  }
  return out;
}

std::string render_visibility(const json& r, const RenderOptions& options) {
  const json& v = member(r, "visibility");
  Table t({{"VISIBILITY"}, {"FLOWS", true}, {"SHARE", true}, {"BYTES", true}});
  for (const json& k : member(v, "kinds")) {
    const json& share = member(k, "share");
    char percent[16];
    std::snprintf(percent, sizeof percent, "%.1f %%",
                  share.is_number() ? share.get<double>() * 100 : 0.0);
    t.add({text(k, "visibility"), count(k, "flows"), percent, octets_text(number(k, "bytes"))});
  }
  std::string out = "last " + duration_text(number(v, "last_seconds")) + "\n";
  out += t.text(options.width);
  out += count(v, "messages") + " messages, " + count(v, "condemned") + " condemned, " +
         count(v, "blocked") + " stopped, " + count(v, "would_have") + " would have been\n";
  return out;
}

std::string render_wire(const json& r, const RenderOptions& options) {
  Facts f;
  f.add("wire", text(r, "name"));
  f.add("description", text(r, "description"));
  f.add("mode", text(r, "mode") + ", fails " + text(r, "failure"));
  const auto port = [&r](const char* name, const char* up) {
    std::string out = text(r, name);
    if (r.contains(up)) out += flag(r, up) ? " (up)" : " (down)";
    return out;
  };
  f.add("inside", port("inside", "inside_up"));
  f.add("outside", port("outside", "outside_up"));
  f.add("driver", text(r, "driver"));
  if (r.contains("inspecting")) f.add("inspecting", text(r, "inspecting"));
  const json& kernel = member(r, "kernel");
  if (kernel.is_object()) {
    f.add("kernel", flag(kernel, "attached")
                        ? std::string("attached, dataplane ") +
                              (flag(kernel, "dataplane_alive") ? "alive" : "not alive") +
                              (flag(kernel, "operator_bypass") ? ", operator bypass" : "") + ", " +
                              count(kernel, "list_entries") + " list entries"
                        : "not attached: " + text(kernel, "error"));
  }
  std::string out = f.text();
  const json& frames = member(kernel, "frames");
  if (frames.is_object() && !frames.empty()) {
    Table t({{"KERNEL DECISION", false, true}, {"INSIDE", true}, {"OUTSIDE", true}});
    json names = json::object();
    for (const auto& [side, counters] : frames.items()) {
      for (const auto& [name, value] : counters.items()) names[name] = 0;
    }
    for (const auto& [name, unused] : names.items()) {
      t.add({name, count(member(frames, "inside"), name.c_str()),
             count(member(frames, "outside"), name.c_str())});
    }
    out += "\n" + t.text(options.width);
  }
  return out + "\n" + render_visibility(r, options);
}

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

std::string render_order(const json& r, const RenderOptions&) {
  const auto safe = [&r](const char* key) { return for_terminal(text(r, key)); };
  std::string out = safe("prefix") + ": " + safe("action");
  if (number(r, "rate") != 0) out += " " + count(r, "rate") + "/h";
  const std::string l = left(r);
  out += l.empty() ? ", until released" : ", for " + l;
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
    t.add({text(c, "check"), flag(c, "pass") ? "pass" : "FAIL", text(c, "detail")});
  }
  return t.text(options.width) + (flag(r, "good") ? "all good\n" : "something is wrong\n");
}

}  // namespace sluice::control
