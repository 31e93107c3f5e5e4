// Event records to EVE JSON lines. Where Suricata's EVE has a field, ours has its name, form and
// type; what Sluice adds stands under `sluice` or is named in docs. Text from the wire may hold any
// octet: valid UTF-8 passes, everything else is written as \xHH, so that a line is always one valid
// JSON object (wire case E14).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/contract/event_record.h"

namespace sluice::control {

struct EveWire {
  std::string name;
  std::string inside;  // interface names, for in_iface
  std::string outside;
};

struct EveContext {
  std::string host;            // the sensor's name
  std::vector<EveWire> wires;  // by wire index
};

// The JSON object of a record, one line without its end; empty for records that are no events
// (snapshots) and for records that cannot be read. Any thread.
std::string eve_json(Bytes record, const EveContext& context);

// `2026-11-25T18:41:34.123456+0000`, from ns since the Unix epoch.
std::string eve_timestamp(std::uint64_t wall_time);

// The text with every octet that is not part of valid UTF-8 (RFC 3629: no surrogates, no overlong
// forms) as \xHH.
std::string printable(std::string_view text);

// An address as EVE writes it: dotted quad or RFC 5952.
std::string address_text(const Address& address);

}  // namespace sluice::control
