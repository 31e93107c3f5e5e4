// The configuration: text (RFC 7951 JSON of the model control/model/sluice.yang) to structures.
//
// libyang checks types, ranges, `must`, uniqueness and unknown names, and fills in the defaults, so
// that what is read from the tree here needs no checking of its own. The model is part of the
// binary. The text is the master: the structures are what the processes need of it.
//
// All functions are pure but for reading the named file; any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/api/access.h"
#include "control/policy/loaded_lists.h"
#include "control/publish/image.h"
#include "dataplane/base/result.h"
#include "dataplane/policy/policy.h"

namespace sluice::control {

struct WireConfig {
  std::string name;
  std::string inside;   // interface; empty: none (offline)
  std::string outside;  // interface; empty: none (offline)
  policy::Mode mode = policy::Mode::monitor;
  policy::Exception failure = policy::Exception::fail_open;
  std::string description;
};

enum class Role : std::uint8_t { subscriber, shared_address, shared_web, server, infrastructure };
inline constexpr std::string_view kRoleNames[] = {"subscriber", "shared-address", "shared-web",
                                                  "server", "infrastructure"};

struct InsidePrefix {
  Prefix prefix;
  Role role = Role::subscriber;
  std::string comment;
};

enum class BlockAction : std::uint8_t { reset, drop };

struct DetectionConfig {
  bool enabled = true;
  std::uint32_t window = 600;  // seconds
  std::uint32_t limit_threshold = 3;
  std::uint32_t block_threshold = 10;
  std::uint32_t limit_rate = 20;  // messages an hour
  std::uint32_t limit_burst = 1;
  std::uint32_t limit_duration = 1800;  // seconds
  std::uint32_t block_duration = 3600;  // seconds
  BlockAction block_action = BlockAction::reset;
  bool step_down = true;
  double maximum_share = 5.0;  // percent
  std::uint32_t minimum_acted_on = 5;
  std::uint8_t ipv6_prefix_length = 64;
  std::vector<Prefix> ipv6_single_host;
  std::uint32_t maximum_hosts = 200'000;
};

// A standing order of the configuration for a prefix.
struct HostOverride {
  Prefix prefix;
  policy::HostAction action = policy::HostAction::block;
  std::uint32_t rate_per_hour = 20;
  std::uint32_t burst = 1;
  std::string comment;
};

struct PrefixListConfig {
  std::string name;
  std::filesystem::path file;
  policy::HostAction action = policy::HostAction::block;
  std::uint32_t rate_per_hour = 20;
  std::uint32_t burst = 1;
  bool allow_empty = false;
  bool force = false;
  std::string comment;
};

struct EventsConfig {
  std::filesystem::path file = "/var/log/sluice/eve.json";
  std::string sensor_name;                    // empty: the host name
  std::uint64_t rotate_size = 1'073'741'824;  // octets; 0: never
  std::uint8_t rotate_keep = 5;
  std::uint32_t queue = 65'536;            // events
  std::uint32_t recent = 20'000;           // events
  std::uint32_t messages = 1'000'000;      // kept on disk for `show messages`
  std::uint32_t statistics_interval = 10;  // seconds
};

struct HttpToken {
  std::string name;
  std::string sha256;  // 64 lower-case hexadecimal digits
  Access role = Access::viewer;
  std::string expires;  // RFC 3339; empty: never
};

struct HttpConfig {
  bool enabled = false;
  std::string interface;  // management interface; empty: loopback only
  std::string address = "127.0.0.1";
  std::uint16_t port = 8443;
  std::filesystem::path certificate;
  std::filesystem::path private_key;
  std::uint32_t rate = 600;  // requests a minute of a client address
  std::vector<HttpToken> tokens;
};

// Roles by name of the Unix group or user.
struct AccessConfig {
  std::vector<std::pair<std::string, Access>> groups;
  std::vector<std::pair<std::string, Access>> users;
};

struct Configuration {
  std::vector<WireConfig> wires;  // never empty: "w1" without ports when the text names none
  std::vector<InsidePrefix> inside;
  std::vector<std::uint16_t> mail_ports{25, 465, 587, 2525};
  std::vector<std::filesystem::path> rule_files;
  std::vector<GroupSpec> groups;  // never empty; the first is "default"
  policy::Exceptions exceptions;
  DetectionConfig detection;
  std::vector<HostOverride> hosts;
  std::vector<PrefixListConfig> prefix_lists;
  std::vector<MatchListConfig> match_lists;
  policy::Texts texts;
  bool hash_messages = false;
  bool hash_attachments = true;
  bool hash_md5 = false;
  std::uint64_t scan_budget = 0;  // octets; 0: no bound
  EventsConfig events;
  std::string api_socket = "/run/sluice/control.sock";
  HttpConfig http;
  AccessConfig access;
};

inline constexpr std::string_view kHostActionNames[] = {"allow",  "limit",  "tempfail",
                                                        "reject", "tarpit", "block"};
inline constexpr std::size_t kMaxConfigurationSize = std::size_t{64} << 20;  // octets

// Reads, checks and converts. An error is one line for each fault, "NAME:LINE: /path/in/model:
// reason", as far as line and path are known.
Result<Configuration> load_configuration(const std::filesystem::path& path);
// The same for a text; `name` stands for it in errors.
Result<Configuration> parse_configuration(std::string_view json, std::string_view name);

// The configuration with every default written out (RFC 7951 JSON, indented), or the error.
Result<std::string> canonical_configuration(std::string_view json, std::string_view name,
                                            bool with_defaults);

// The configuration as it is written down: of this version of the model, which it says, inactive
// nodes included, no defaults. What `must` and the like demand is not checked here.
Result<std::string> stored_configuration(std::string_view json, std::string_view name);
class ConfigTree;
// Sets the leaf that says which version of the model this is.
void mark_version(ConfigTree& tree);

// What crosses to the dataplane. `hosts` are the orders to publish (standing ones of the
// configuration and of lists, those of operators, those of detection: see decide/orders), already
// merged: of two for one prefix the later is taken.
PolicySpec policy_spec(const Configuration& configuration, std::uint32_t epoch,
                       const std::vector<policy::HostRule>& hosts = {});

// The standing orders of the configuration itself, as host rules.
std::vector<policy::HostRule> configured_host_rules(const Configuration& configuration);

// The source of the model, YANG 1.1.
std::string_view model_source();
// Its newest revision, as the model says: "2026-11-26".
std::string model_revision();

}  // namespace sluice::control
