#include "control/api/config.h"

#include <libyang/libyang.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <optional>
#include <tuple>

#include "control/api/config_tree.h"
#include "control/api/migrate.h"
#include "control/files/read_file.h"
#include "control/identity/prefix.h"

// Generated from sluice.yang.
extern const char sluice_model_yang[];

namespace sluice::control {
namespace {

struct ContextDeleter {
  void operator()(ly_ctx* c) const { ly_ctx_destroy(c); }
};
struct TreeDeleter {
  void operator()(lyd_node* n) const { lyd_free_all(n); }
};
using Context = std::unique_ptr<ly_ctx, ContextDeleter>;
using Tree = std::unique_ptr<lyd_node, TreeDeleter>;

// libyang logs to stderr unless told otherwise; we want its errors as values. Process-wide, once:
// its per-thread option is reset by its own code on some paths.
void quiet_logging() {
  static const std::uint32_t before = ly_log_options(LY_LOSTORE);
  static_cast<void>(before);
}

// A context for each call: creating one costs a few milliseconds and its errors are then our own.
Result<Context> make_context() {
  quiet_logging();
  ly_ctx* raw = nullptr;
  if (ly_ctx_new(nullptr, LY_CTX_NO_YANGLIBRARY | LY_CTX_DISABLE_SEARCHDIRS, &raw) != LY_SUCCESS) {
    return Error{"libyang cannot be started"};
  }
  Context context(raw);
  if (lys_parse_mem(raw, sluice_model_yang, LYS_IN_YANG, nullptr) != LY_SUCCESS) {
    const ly_err_item* e = ly_err_first(raw);
    return Error{std::string("the built-in model is broken: ") +
                 (e != nullptr && e->msg != nullptr ? e->msg : "unknown")};
  }
  return context;
}

// libyang's place text ("Schema location "/a:b", data location "/a:b/c", line number 3.") in parts.
struct Place {
  std::string path;
  std::string line;
};
Place place_of(const char* text) {
  Place place;
  if (text == nullptr) return place;
  const std::string_view s = text;
  for (const std::string_view mark : {"ata location \"", "chema location \""}) {
    const std::size_t at = s.find(mark);
    if (at == std::string_view::npos) continue;
    const std::size_t begin = at + mark.size();
    std::size_t end = s.find("\", line", begin);
    if (end == std::string_view::npos) end = s.find("\".", begin);
    if (end == std::string_view::npos) end = s.rfind('"');
    if (end > begin && end != std::string_view::npos) place.path = s.substr(begin, end - begin);
    break;
  }
  const std::string_view mark = "ine number ";
  if (const std::size_t at = s.find(mark); at != std::string_view::npos) {
    const std::size_t begin = at + mark.size();
    place.line = s.substr(begin, s.find_first_not_of("0123456789", begin) - begin);
  }
  return place;
}

std::string errors_of(const ly_ctx* context, std::string_view name, bool with_lines = true) {
  std::string text;
  for (const ly_err_item* e = ly_err_first(context); e != nullptr; e = e->next) {
    if (e->level != LY_LLERR) continue;
    const Place place = place_of(e->path);
    if (!text.empty()) text += '\n';
    text += name;
    if (with_lines && !place.line.empty() && place.line != "0") text += ":" + place.line;
    text += ": ";
    if (!place.path.empty()) text += place.path + ": ";
    text += e->msg != nullptr ? e->msg : "invalid";
  }
  if (text.empty()) text = std::string(name) + ": not a valid configuration";
  return text;
}

// The configuration as if what is inactive were not there.
Result<std::string> without_inactive(std::string_view json, std::string_view name) {
  auto model = Model::create();
  if (!model) return Error{model.error()};
  auto tree = ConfigTree::parse(**model, json, name);
  if (!tree) return Error{tree.error()};
  return tree->json(true);
}

Result<Tree> parse_tree(const ly_ctx* context, std::string_view json, std::string_view name) {
  if (json.size() > kMaxConfigurationSize) {
    return Error{std::string(name) + ": longer than 64 MiB"};
  }
  // libyang reads up to the first NUL.
  if (json.find('\0') != std::string_view::npos) {
    return Error{std::string(name) + ": holds a NUL octet"};
  }
  if (json.starts_with("\xef\xbb\xbf")) json.remove_prefix(3);
  if (json.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    return Error{std::string(name) + ": empty; the smallest configuration is {}"};
  }
  auto migrated = migrate(json, name);
  if (!migrated) return Error{migrated.error()};
  std::string text = std::move(migrated->text);
  // Line numbers of another text than the one that was given would mislead.
  bool same_text = migrated->notes.empty();
  if (text.find("\"sluice:inactive\"") != std::string::npos) {
    auto active = without_inactive(text, name);
    if (!active) return Error{active.error()};
    text = std::move(*active);
    same_text = false;
  }
  lyd_node* raw = nullptr;
  const LY_ERR result =
      lyd_parse_data_mem(context, text.c_str(), LYD_JSON, LYD_PARSE_STRICT | LYD_PARSE_NO_STATE,
                         LYD_VALIDATE_NO_STATE, &raw);
  Tree tree(raw);
  if (result != LY_SUCCESS) return Error{errors_of(context, name, same_text)};
  return tree;
}

// Reading the checked tree. Names are those of the model: a wrong one is a fault of ours.
const lyd_node* child(const lyd_node* parent, std::string_view name) {
  for (const lyd_node* n = lyd_child(parent); n != nullptr; n = n->next) {
    if (n->schema != nullptr && name == n->schema->name) return n;
  }
  return nullptr;
}
template <typename Use>
void each(const lyd_node* parent, std::string_view name, Use&& use) {
  for (const lyd_node* n = lyd_child(parent); n != nullptr; n = n->next) {
    if (n->schema != nullptr && name == n->schema->name) use(n);
  }
}
std::string_view value_of(const lyd_node* leaf) {
  const char* v = lyd_get_value(leaf);
  return v == nullptr ? std::string_view{} : std::string_view{v};
}
std::string text_at(const lyd_node* parent, std::string_view name) {
  const lyd_node* n = child(parent, name);
  return n == nullptr ? std::string{} : std::string(value_of(n));
}
std::uint64_t number_at(const lyd_node* parent, std::string_view name) {
  return std::strtoull(text_at(parent, name).c_str(), nullptr, 10);
}
template <typename Integer>
void read_number(const lyd_node* parent, std::string_view name, Integer& into) {
  into = static_cast<Integer>(number_at(parent, name));
}
bool flag_at(const lyd_node* parent, std::string_view name) {
  return text_at(parent, name) == "true";
}
policy::Exception failure_at(const lyd_node* parent, std::string_view name) {
  return text_at(parent, name) == "closed" ? policy::Exception::fail_closed
                                           : policy::Exception::fail_open;
}
// In hundredths.
void read_score(const lyd_node* parent, std::string_view name, std::int32_t& into) {
  const lyd_node* n = child(parent, name);
  if (n == nullptr) return;
  into = static_cast<std::int32_t>(
      reinterpret_cast<const lyd_node_term*>(n)->value.dec64);  // two fraction digits
}
template <typename Enum, std::size_t N>
Enum enum_at(const lyd_node* parent, std::string_view name, const std::string_view (&names)[N],
             Enum otherwise) {
  const std::string text = text_at(parent, name);
  const auto* found = std::find(std::begin(names), std::end(names), text);
  return found == std::end(names) ? otherwise : static_cast<Enum>(found - std::begin(names));
}

// libyang has checked the form; ours is stricter in nothing that YANG's accepts (leading zeros are
// refused by the pattern of RFC 6991 too), but an error must not become a prefix of zeros.
std::optional<Prefix> prefix_of(std::string_view text) {
  const auto parsed = parse_prefix(text);
  if (!parsed) return std::nullopt;
  return parsed->prefix;
}

class Reader {
 public:
  explicit Reader(std::string_view name) : name_(name) {}

  Result<Configuration> read(const lyd_node* root) {
    read_wires(root);
    each(child(root, "inside"), "prefix", [&](const lyd_node* n) {
      c_.inside.push_back({prefix_at(n, "prefix"), enum_at(n, "role", kRoleNames, Role::subscriber),
                           text_at(n, "comment")});
    });
    c_.mail_ports.clear();
    each(child(root, "mail"), "port", [&](const lyd_node* n) {
      c_.mail_ports.push_back(
          static_cast<std::uint16_t>(std::strtoul(lyd_get_value(n), nullptr, 10)));
    });
    each(child(root, "rules"), "file",
         [&](const lyd_node* n) { c_.rule_files.emplace_back(value_of(n)); });
    each(child(root, "rules"), "match-list", [&](const lyd_node* n) { read_match_list(n); });
    read_groups(child(root, "policy"));
    read_exceptions(child(root, "exceptions"));
    read_detection(child(root, "detection"));
    read_identity(child(root, "identity"));
    each(root, "host", [&](const lyd_node* n) {
      HostOverride h;
      h.prefix = prefix_at(n, "prefix");
      read_order(n, h);
      c_.hosts.push_back(std::move(h));
    });
    each(root, "prefix-list", [&](const lyd_node* n) {
      PrefixListConfig l;
      l.name = text_at(n, "name");
      l.file = text_at(n, "file");
      l.allow_empty = flag_at(n, "allow-empty");
      l.force = flag_at(n, "force");
      read_order(n, l);
      c_.prefix_lists.push_back(std::move(l));
    });
    read_rest(root);
    if (!error_.empty()) return Error{error_};
    return std::move(c_);
  }

 private:
  Prefix prefix_at(const lyd_node* parent, std::string_view leaf) {
    const lyd_node* n = child(parent, leaf);
    return n == nullptr ? Prefix{} : prefix_value(n);
  }
  Prefix prefix_value(const lyd_node* n) {
    const auto prefix = prefix_of(value_of(n));
    if (!prefix && error_.empty()) {
      char* path = lyd_path(n, LYD_PATH_STD, nullptr, 0);
      error_ = name_ + ": " + (path != nullptr ? path : "") + ": '" + std::string(value_of(n)) +
               "' is not a prefix";
      std::free(path);  // NOLINT(cppcoreguidelines-no-malloc): libyang's own allocation
    }
    return prefix.value_or(Prefix{});
  }
  template <typename Order>
  static void read_order(const lyd_node* n, Order& order) {
    order.action = enum_at(n, "action", kHostActionNames, policy::HostAction::block);
    read_number(n, "rate", order.rate_per_hour);
    read_number(n, "burst", order.burst);
    order.comment = text_at(n, "comment");
  }
  void read_wires(const lyd_node* root) {
    each(root, "wire", [&](const lyd_node* n) {
      WireConfig w;
      w.name = text_at(n, "name");
      w.inside = text_at(n, "inside");
      w.outside = text_at(n, "outside");
      w.mode = text_at(n, "mode") == "enforce" ? policy::Mode::enforce : policy::Mode::monitor;
      w.failure = failure_at(n, "failure");
      w.description = text_at(n, "description");
      c_.wires.push_back(std::move(w));
    });
    if (c_.wires.empty()) {
      WireConfig only;
      only.name = "w1";
      c_.wires.push_back(only);
    }
  }
  void read_groups(const lyd_node* policy) {
    GroupSpec standard;
    standard.group.name = "default";
    c_.groups.push_back(standard);
    each(policy, "group", [&](const lyd_node* n) {
      GroupSpec g;
      g.group.name = text_at(n, "name");
      read_score(n, "tag-score", g.group.tag_score);
      read_score(n, "tempfail-score", g.group.tempfail_score);
      read_score(n, "reject-score", g.group.reject_score);
      g.group.rule_reject =
          enum_at(n, "rule-reject", contract::kVerdictNames, contract::Verdict::reject);
      g.group.rule_drop = enum_at(n, "rule-drop", contract::kVerdictNames, contract::Verdict::drop);
      each(n, "member", [&](const lyd_node* m) { g.members.push_back(prefix_value(m)); });
      if (g.group.name == "default") {
        c_.groups.front() = std::move(g);
      } else {
        c_.groups.push_back(std::move(g));
      }
    });
  }
  void read_match_list(const lyd_node* n) {
    constexpr std::string_view kActions[] = {"alert", "pass", "tempfail", "reject", "drop"};
    constexpr std::pair<std::string_view, lists::Place> kWhere[] = {
        {"sender", lists::Place::sender},
        {"recipient", lists::Place::recipient},
        {"from", lists::Place::from}};
    MatchListConfig l;
    scan::RuleInfo& rule = l.list.rule;
    rule.name = text_at(n, "name");
    l.kind = enum_at(n, "kind", kMatchKindNames, MatchKind::url);
    l.file = text_at(n, "file");
    l.allow_empty = flag_at(n, "allow-empty");
    l.comment = text_at(n, "comment");
    rule.gid = kMatchListGid;
    read_number(n, "sid", rule.sid);
    read_number(n, "severity", rule.severity);
    rule.action = enum_at(n, "action", kActions, scan::RuleAction::alert);
    read_score(n, "score", rule.score);
    rule.message = text_at(n, "message");
    if (rule.message.empty()) rule.message = rule.name;
    rule.category = "Listed " + std::string(kMatchKindNames[static_cast<std::size_t>(l.kind)]);
    switch (l.kind) {
      case MatchKind::url:
        l.list.places = mask_of(lists::Place::url);
        break;
      case MatchKind::hash:
      case MatchKind::file_name:
        l.list.places = mask_of(lists::Place::attachment);
        break;
      case MatchKind::address:
        each(n, "where", [&](const lyd_node* m) {
          for (const auto& [name, place] : kWhere) {
            if (value_of(m) == name) l.list.places |= mask_of(place);
          }
        });
        if (l.list.places == 0) {
          for (const auto& [name, place] : kWhere) l.list.places |= mask_of(place);
        }
        break;
    }
    c_.match_lists.push_back(std::move(l));
  }
  void read_exceptions(const lyd_node* n) {
    c_.exceptions.flow_table_full = failure_at(n, "flow-table-full");
    c_.exceptions.memory = failure_at(n, "memory");
    c_.exceptions.scan_budget = failure_at(n, "scan-budget");
    c_.exceptions.smuggling = failure_at(n, "smuggling");
    c_.exceptions.overlap = failure_at(n, "overlap");
  }
  void read_detection(const lyd_node* n) {
    DetectionConfig& d = c_.detection;
    d.enabled = flag_at(n, "enabled");
    read_number(n, "window", d.window);
    read_number(n, "limit-threshold", d.limit_threshold);
    read_number(n, "block-threshold", d.block_threshold);
    const lyd_node* limit = child(n, "limit");
    read_number(limit, "rate", d.limit_rate);
    read_number(limit, "burst", d.limit_burst);
    read_number(limit, "duration", d.limit_duration);
    const lyd_node* block = child(n, "block");
    read_number(block, "duration", d.block_duration);
    d.block_action = text_at(block, "action") == "drop" ? BlockAction::drop : BlockAction::reset;
    d.step_down = flag_at(block, "step-down");
    std::int32_t share = 500;
    read_score(n, "maximum-share", share);
    d.maximum_share = share / 100.0;
    read_number(n, "minimum-acted-on", d.minimum_acted_on);
    read_number(n, "maximum-hosts", d.maximum_hosts);
  }
  void read_identity(const lyd_node* n) {
    DetectionConfig& d = c_.detection;
    read_number(n, "ipv6-prefix-length", d.ipv6_prefix_length);
    each(n, "ipv6-single-host",
         [&](const lyd_node* m) { d.ipv6_single_host.push_back(prefix_value(m)); });
  }
  void read_http(const lyd_node* n) {
    HttpConfig& h = c_.http;
    h.enabled = flag_at(n, "enabled");
    h.interface = text_at(n, "interface");
    h.address = text_at(n, "address");
    read_number(n, "port", h.port);
    h.certificate = text_at(n, "certificate");
    h.private_key = text_at(n, "private-key");
    read_number(n, "rate", h.rate);
    each(n, "token", [&](const lyd_node* t) {
      h.tokens.push_back({text_at(t, "name"), text_at(t, "sha256"),
                          enum_at(t, "role", kAccessNames, Access::viewer), text_at(t, "expires")});
    });
  }
  void read_access(const lyd_node* n) {
    const auto read = [&](const char* list, auto& into) {
      each(n, list, [&](const lyd_node* e) {
        into.emplace_back(text_at(e, "name"), enum_at(e, "role", kAccessNames, Access::viewer));
      });
    };
    read("group", c_.access.groups);
    read("user", c_.access.users);
  }
  void read_rest(const lyd_node* root) {
    const lyd_node* texts = child(root, "texts");
    c_.texts.rejected = text_at(texts, "rejected");
    c_.texts.tempfailed = text_at(texts, "tempfailed");
    c_.texts.limited = text_at(texts, "limited");
    c_.texts.closing = text_at(texts, "closing");
    const lyd_node* hashing = child(root, "hashing");
    c_.hash_messages = flag_at(hashing, "messages");
    c_.hash_attachments = flag_at(hashing, "attachments");
    c_.hash_md5 = flag_at(hashing, "md5");
    read_number(child(root, "limits"), "scan-budget", c_.scan_budget);
    const lyd_node* events = child(root, "events");
    c_.events.file = text_at(events, "file");
    c_.events.sensor_name = text_at(events, "sensor-name");
    read_number(events, "rotate-size", c_.events.rotate_size);
    read_number(events, "rotate-keep", c_.events.rotate_keep);
    read_number(events, "queue", c_.events.queue);
    read_number(events, "recent", c_.events.recent);
    read_number(events, "messages", c_.events.messages);
    read_number(events, "statistics-interval", c_.events.statistics_interval);
    const lyd_node* api = child(root, "api");
    c_.api_socket = text_at(api, "socket");
    read_http(child(api, "http"));
    read_access(child(root, "access"));
  }

  std::string name_;
  std::string error_;
  Configuration c_;
};

// The container of the model in `tree`; libyang has created it if the text did not.
const lyd_node* root_of(const lyd_node* tree) {
  for (const lyd_node* n = tree; n != nullptr; n = n->next) {
    if (n->schema != nullptr && std::string_view("sluice") == n->schema->name) return n;
  }
  return nullptr;
}

}  // namespace

Result<Configuration> parse_configuration(std::string_view json, std::string_view name) {
  auto context = make_context();
  if (!context) return Error{context.error()};
  auto tree = parse_tree(context->get(), json, name);
  if (!tree) return Error{tree.error()};
  const lyd_node* root = root_of(tree->get());
  if (root == nullptr) return Error{std::string(name) + ": no container 'sluice:sluice'"};
  return Reader(name).read(root);
}

Result<Configuration> load_configuration(const std::filesystem::path& path) {
  const auto text = read_file(path, kMaxConfigurationSize);
  if (!text) return Error{text.error()};
  return parse_configuration(*text, path.string());
}

Result<std::string> canonical_configuration(std::string_view json, std::string_view name,
                                            bool with_defaults) {
  auto context = make_context();
  if (!context) return Error{context.error()};
  auto tree = parse_tree(context->get(), json, name);
  if (!tree) return Error{tree.error()};
  char* out = nullptr;
  const std::uint32_t options =
      LYD_PRINT_WITHSIBLINGS | (with_defaults ? LYD_PRINT_WD_ALL : LYD_PRINT_WD_EXPLICIT);
  if (lyd_print_mem(&out, tree->get(), LYD_JSON, options) != LY_SUCCESS || out == nullptr) {
    return Error{errors_of(context->get(), name)};
  }
  std::string text = out;
  std::free(out);  // NOLINT(cppcoreguidelines-no-malloc): libyang's own allocation
  return text;
}

Result<std::string> stored_configuration(std::string_view json, std::string_view name) {
  auto migrated = migrate(json, name);
  if (!migrated) return Error{migrated.error()};
  auto model = Model::create();
  if (!model) return Error{model.error()};
  auto tree = ConfigTree::parse(**model, migrated->text, name);
  if (!tree) return Error{tree.error()};
  mark_version(*tree);
  return tree->json();
}

void mark_version(ConfigTree& tree) {
  tree.root().set(*tree.model().root().child("model-version"), std::to_string(kModelVersion));
}

PolicySpec policy_spec(const Configuration& configuration, std::uint32_t epoch,
                       const std::vector<policy::HostRule>& hosts) {
  PolicySpec spec;
  spec.epoch = epoch;
  for (const WireConfig& w : configuration.wires) spec.wires.push_back({w.name, w.mode});
  spec.groups = configuration.groups;
  for (const InsidePrefix& p : configuration.inside) spec.inside.push_back(p.prefix);
  spec.mail_ports = configuration.mail_ports;
  // Of two for one prefix the later stays. Sorted in place: there may be a million.
  spec.hosts = configured_host_rules(configuration);
  spec.hosts.insert(spec.hosts.end(), hosts.begin(), hosts.end());
  const auto key = [](const policy::HostRule& r) { return std::tie(r.prefix, r.length); };
  std::stable_sort(
      spec.hosts.begin(), spec.hosts.end(),
      [&key](const policy::HostRule& a, const policy::HostRule& b) { return key(a) < key(b); });
  const auto first_kept = std::unique(
      spec.hosts.rbegin(), spec.hosts.rend(),
      [&key](const policy::HostRule& a, const policy::HostRule& b) { return key(a) == key(b); });
  spec.hosts.erase(spec.hosts.begin(), first_kept.base());
  spec.texts = configuration.texts;
  spec.exceptions = configuration.exceptions;
  spec.hash_messages = configuration.hash_messages;
  spec.hash_attachments = configuration.hash_attachments;
  spec.hash_md5 = configuration.hash_md5;
  spec.scan_budget = configuration.scan_budget;
  return spec;
}

std::vector<policy::HostRule> configured_host_rules(const Configuration& configuration) {
  std::vector<policy::HostRule> rules;
  rules.reserve(configuration.hosts.size());
  for (const HostOverride& h : configuration.hosts) {
    policy::HostRule r;
    r.prefix = h.prefix.address;
    r.length = h.prefix.length;
    r.action = h.action;
    if (h.action == policy::HostAction::limit) {
      r.rate_per_hour = h.rate_per_hour;
      r.burst = h.burst;
    }
    rules.push_back(std::move(r));
  }
  return rules;
}

std::string model_revision() {
  constexpr std::string_view kMark = "\n  revision ";
  const std::string_view source = model_source();
  const std::size_t at = source.find(kMark);
  return at == source.npos ? std::string{} : std::string(source.substr(at + kMark.size(), 10));
}

std::string_view model_source() { return sluice_model_yang; }

}  // namespace sluice::control
