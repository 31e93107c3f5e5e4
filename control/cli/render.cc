// What is shown: tables of what is and was.
#include "control/cli/render.h"

#include <algorithm>

#include "control/cli/render_values.h"

namespace sluice::control {

using namespace render_values;

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

// One message: a line of what and when, then the server's words and the reason where there are
// some.
std::string render_messages(const json& r, const RenderOptions& options) {
  Table t({{"TIME"},
           {"FROM", false, true},
           {"TO", false, true},
           {"OUTCOME"},
           {"VERDICT"},
           {"REPLY AND REASON", false, true}});
  std::string day;
  for (const json& m : member(r, "messages")) {
    std::string verdict = text(m, "verdict");
    if (const std::string would = text(m, "would_have"); !would.empty())
      verdict = "(" + would + ")";
    const json& to = member(m, "rcpt_to");
    std::string recipients = to.is_array() && !to.empty() ? plain(to[0]) : "";
    if (to.is_array() && to.size() > 1) recipients += " +" + std::to_string(to.size() - 1);
    if (recipients.empty()) {
      const json& refused = member(m, "rcpt_refused");
      if (refused.is_array() && !refused.empty()) recipients = text(refused[0], "to") + " refused";
    }
    const json& reply = member(m, "reply");
    std::string why = text(reply, "code");
    if (const std::string said = text(reply, "text"); !said.empty()) why += " " + said;
    if (const std::string reason = text(m, "reason"); !reason.empty()) {
      why += (why.empty() ? "" : "; ") + reason;
    }
    if (const std::string rules = text(m, "rules"); !rules.empty()) {
      why +=
          (why.empty() ? "" : "; ") + std::string("rules ") + rules + ", score " + text(m, "score");
    }
    const std::string stamp = text(m, "timestamp");
    const std::string date = stamp.substr(0, std::min<std::size_t>(10, stamp.size()));
    // The day stands where it changes.
    const std::string when =
        date == day ? clock_text(m, "timestamp") : date + " " + clock_text(m, "timestamp");
    day = date;
    t.add({when, text(m, "mail_from"), recipients, text(m, "outcome"), verdict, why});
  }
  std::string out = table_or(t, options, "no message");
  if (r.contains("whole") && !flag(r, "whole")) {
    out += "not all messages were looked through in time; ask for a shorter time (last 2h)\n";
  }
  if (const std::string error = text(r, "journal"); !error.empty()) {
    out += for_terminal("only what is in memory: " + error) + "\n";
  }
  return out;
}

std::string render_audit(const json& r, const RenderOptions& options) {
  Table t({{"TIME", false, true},
           {"WHO"},
           {"ROLE"},
           {"FROM", false, true},
           {"WHAT", false, true},
           {"COMMENT", false, true}});
  for (const json& a : member(r, "audit")) {
    const std::string stamp = text(a, "timestamp");
    t.add({stamp.substr(0, std::min<std::size_t>(10, stamp.size())) + " " +
               clock_text(a, "timestamp"),
           text(a, "who"), text(a, "role"), text(a, "from"), text(a, "what"), text(a, "comment")});
  }
  return table_or(t, options, "nothing has been changed yet");
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

namespace {

std::string percent(double share) {
  char text[16];
  std::snprintf(text, sizeof text, "%.1f %%", share * 100);
  return text;
}

double share_of(const json& row, const char* visibility) {
  for (const json& k : member(row, "kinds")) {
    const json& share = member(k, "share");
    if (text(k, "visibility") == visibility && share.is_number()) return share.get<double>();
  }
  return 0.0;
}

}  // namespace

std::string render_visibility(const json& r, const RenderOptions& options) {
  const json& v = member(r, "visibility");
  Table t({{"VISIBILITY"}, {"FLOWS", true}, {"SHARE", true}, {"BYTES", true}});
  for (const json& k : member(v, "kinds")) {
    const json& share = member(k, "share");
    t.add({text(k, "visibility"), count(k, "flows"),
           percent(share.is_number() ? share.get<double>() : 0.0),
           octets_text(number(k, "bytes"))});
  }
  std::string out = "last " + duration_text(number(v, "last_seconds")) + ", flows that ended\n";
  out += t.text(options.width);
  out += count(v, "messages") + " messages, " + count(v, "condemned") + " condemned, " +
         count(v, "blocked") + " stopped, " + count(v, "would_have") + " would have been\n";
  const json& rows = member(v, "intervals");
  if (!rows.is_array() || rows.size() < 2) return out;
  Table i({{"BEGIN"},
           {"FLOWS", true},
           {"CLEAR", true},
           {"BEFORE TLS", true},
           {"TLS", true},
           {"ONE-SIDED", true},
           {"MESSAGES", true},
           {"STOPPED", true}});
  for (const json& row : rows) {
    const bool any = number(row, "flows") > 0;
    const auto share = [&](const char* name) {
      return any ? percent(share_of(row, name)) : std::string("-");
    };
    i.add({clock_text(row, "begin").substr(0, 5), count(row, "flows"), share("clear"),
           share("before_tls"), share("tls"), share("one_sided"), count(row, "messages"),
           count(row, "blocked")});
  }
  return out + "\nevery " + duration_text(number(v, "interval_seconds")) + " (UTC)\n" +
         i.text(options.width);
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
                        ? "attached (" + text(member(kernel, "xdp"), "inside") + "), dataplane " +
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

}  // namespace sluice::control
