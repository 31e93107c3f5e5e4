// The relays that a message went through, as its Received fields tell (SpamAssassin's
// X-Spam-Relays-*). The first relay is the one that handed the message to us, when the flow is
// known.
#pragma once

#include <string_view>
#include <vector>

#include "dataplane/base/address.h"
#include "dataplane/scan/regex.h"
#include "dataplane/spam/text.h"

namespace sluice::spam {

// Its texts are constants, of the flow's facts or of the memory given to read_relays().
struct Relay {
  std::string_view ip;
  std::string_view rdns;
  std::string_view helo;
  std::string_view by;
  std::string_view ident;
  std::string_view envelope_from;
  std::string_view id;
  std::string_view auth;
  bool has_envelope_from = false;
  bool no_reverse_dns = false;
  bool ip_private = false;
  bool internal = false;
};

inline constexpr std::size_t kMaxRelays = 64;

struct Relays {
  explicit Relays(std::pmr::memory_resource* memory)
      : trusted(memory),
        untrusted(memory),
        trusted_text(memory),
        untrusted_text(memory),
        internal_text(memory),
        external_text(memory) {}
  std::pmr::vector<Relay> trusted;
  std::pmr::vector<Relay> untrusted;
  String trusted_text;
  String untrusted_text;
  String internal_text;
  String external_text;
  int unparseable = 0;
  int last_trusted = -1;  // index of a Received field, counted from the top
  int last_internal = -1;
};

// What is known of the flow in which the message comes; empty texts are not known.
struct FlowFacts {
  std::string_view client;  // address as text
  std::string_view helo;
  bool has_mail_from = false;
  std::string_view mail_from;  // without angle brackets
  bool authenticated = false;
  bool outbound = false;  // the client is one of ours
};

// `received`: the values of the Received fields, the topmost first; `originating`: addresses of
// X-Originating-IP and the like. `memory` lasts as long as `out`, and frees nothing before.
void read_relays(const std::vector<std::string_view>& received,
                 const std::vector<std::string_view>& originating, const FlowFacts& flow,
                 scan::RegexScratch& scratch, std::pmr::memory_resource* memory, Relays& out);

// A regex with %I for an IP address, %L for the local host, %M for a mailbox, %U for the octets
// that end a URL (inside of brackets); aborts the program when it is broken (they are constants).
scan::Regex constant_regex(std::string_view pattern, std::uint32_t options = 0);
// Whether the text begins as a private or local address.
bool is_private_address(std::string_view text, scan::RegexScratch& scratch);
bool is_ip_address(std::string_view text, scan::RegexScratch& scratch);
bool is_ipv4_address(std::string_view text);
// The address as text: dotted, or eight groups.
void put_address(const Address& address, String& out);
// Compiles the tables of this file: off the loop.
void prepare_relays();

}  // namespace sluice::spam
