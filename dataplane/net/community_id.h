// Community ID flow hash, version 1 (Corelight's specification).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "dataplane/base/address.h"

namespace sluice::net {

// "1:" and base64.
struct CommunityId {
  std::array<char, 30> text;
  std::string_view view() const { return {text.data(), text.size()}; }
};

// For ICMP (protocols 1 and 58) the ports are type and code. Any thread; allocates nothing.
CommunityId community_id(const Address& source, const Address& destination,
                         std::uint16_t source_port, std::uint16_t destination_port,
                         std::uint8_t protocol);

}  // namespace sluice::net
