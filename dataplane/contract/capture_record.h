// Records of captures (control_channel.h, ChannelCapture): they travel in the event rings in the
// form of events, and are none. Their type and fields have numbers of their own, far from those of
// events, so that neither list needs to know the other.
#pragma once

#include "dataplane/contract/event_record.h"

namespace sluice::contract {

// Header: ends of the packet, wire, side on which the frame came in (or would have), wall time.
inline constexpr auto kCapturedFrame = static_cast<EventType>(0x4001);
// Fields.
inline constexpr auto kCaptureIdentity =
    static_cast<Field>(0x4001);                                   // u32: ChannelCapture::identity
inline constexpr auto kFrameLength = static_cast<Field>(0x4002);  // u32: octets of the whole frame
// From the link header on, cut as the order says and at EventWriter::kMaxFieldSize.
inline constexpr auto kFrameOctets = static_cast<Field>(0x4003);

}  // namespace sluice::contract
