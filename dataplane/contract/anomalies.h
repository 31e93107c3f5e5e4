// The one list of abnormal conditions (EVE event_type "anomaly"). Each is raised once per flow and
// kind, counted, and documented by its description here; docs and metrics are made from this list.
//
//   X(identifier, "event name", layer, "description")
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>

// clang-format off
#define SLUICE_ANOMALIES(X) \
  /* below TCP */ \
  X(truncated_frame,        "truncated-frame",        decode, "a header reaches beyond the frame or its own length field") \
  X(bad_ip_length,          "bad-ip-length",          decode, "IP length zero or beyond the frame; the frame length was used") \
  X(bad_ip_checksum,        "bad-ip-checksum",        decode, "IPv4 header checksum wrong") \
  X(extension_chain,        "extension-chain",        decode, "IPv6 extension header chain longer than the cap, or an unknown header") \
  X(fragment_overlap,       "fragment-overlap",       decode, "IP fragments overlap; not reassembled (RFC 5722)") \
  X(fragment_timeout,       "fragment-timeout",       decode, "IP fragments that were never completed") \
  X(fragment_limit,         "fragment-limit",         decode, "fragment table or datagram at its bound") \
  X(encapsulation_depth,    "encapsulation-depth",    decode, "more tags, labels or tunnels than are followed") \
  X(pppoe_length,           "pppoe-length",           decode, "PPPoE length disagrees with the frame") \
  X(oversize_frame,         "oversize-frame",         decode, "frame longer than the port's MTU (merged by an offload?)") \
  /* TCP */ \
  X(bad_tcp_checksum,       "bad-tcp-checksum",       stream, "TCP checksum wrong; segment forwarded but not part of the stream") \
  X(bad_tcp_header,         "bad-tcp-header",         stream, "TCP header or options malformed") \
  X(bad_flags,              "bad-flags",              stream, "flag combination no TCP sends") \
  X(ack_without_flag,       "ack-without-flag",       stream, "acknowledgement field set, ACK flag clear") \
  X(syn_in_connection,      "syn-in-connection",      stream, "SYN inside an open connection") \
  X(split_handshake,        "split-handshake",        stream, "handshake in four or more steps, or a simultaneous open") \
  X(suspected_rst_inject,   "suspected-rst-inject",   stream, "the conversation went on after a RST or FIN, or that segment could not be genuine") \
  X(rst_with_payload,       "rst-with-payload",       stream, "octets carried by a RST") \
  X(data_after_fin,         "data-after-fin",         stream, "octets beyond the sequence number of the FIN") \
  X(overlap_diff,           "overlap-diff",           stream, "the same sequence range was sent twice with different octets") \
  X(urg,                    "urg",                    stream, "urgent data: receivers read the stream in two ways") \
  X(paws,                   "paws",                   stream, "timestamp older than the connection's (RFC 7323 PAWS); not part of the stream") \
  X(invalid_timestamp,      "invalid-timestamp",      stream, "a timestamp echoes what was never sent, or the option was not agreed upon") \
  X(syn_data_rejected,      "syn-data-rejected",      stream, "data in a SYN that the server did not accept") \
  X(out_of_window,          "out-of-window",          stream, "segment outside the receiver's window; not part of the stream") \
  X(midstream,              "midstream",              stream, "connection picked up without its handshake") \
  X(one_sided,              "one-sided",              stream, "only one direction of the connection is seen") \
  X(stream_gap,             "stream-gap",             stream, "octets that the receiver acknowledged were never seen") \
  X(reassembly_limit,       "reassembly-limit",       stream, "out-of-order or unacknowledged octets at their bound") \
  X(wrong_side,             "wrong-side",             stream, "segment that came in on the other end's port (spoofed or reflected); not part of the stream") \
  X(ack_unseen_data,        "ack-unseen-data",        stream, "acknowledgement of octets that were not seen") \
  /* SMTP */ \
  X(chunk_too_long,         "chunk-too-long",         applayer, "BDAT chunk runs past its declared size") \
  X(bad_bdat_arg,           "bad-bdat-arg",           applayer, "BDAT argument malformed or over the limit") \
  X(long_command,           "long-command",           applayer, "command line longer than the limit") \
  X(long_reply,             "long-reply",             applayer, "reply line longer than the limit") \
  X(bad_command,            "bad-command",            applayer, "line in command mode that is no SMTP command") \
  X(command_sequence,       "command-sequence",       applayer, "command out of sequence (RFC 5321 4.1.4)") \
  X(ambiguous_eod,          "ambiguous-eod",          applayer, "a sequence that some servers read as end-of-data (SMTP smuggling)") \
  X(smuggled_commands,      "smuggled-commands",      applayer, "SMTP commands follow an ambiguous end-of-data") \
  X(bare_lf,                "bare-lf",                applayer, "line ended by a bare LF") \
  X(bare_cr,                "bare-cr",                applayer, "bare CR inside a line") \
  X(starttls_injection,     "starttls-injection",     applayer, "client octets after STARTTLS in clear (CVE-2011-0411)") \
  X(starttls_reply_injection, "starttls-reply-injection", applayer, "server octets after the STARTTLS reply in clear") \
  X(bad_reply,              "bad-reply",              applayer, "server line that is no SMTP reply") \
  X(unsolicited_reply,      "unsolicited-reply",      applayer, "reply that no command asked for") \
  X(bad_path,               "bad-path",               applayer, "reverse-path or forward-path malformed (RFC 5321 4.1.2)") \
  X(nul,                    "nul",                    applayer, "NUL octet in a command, header or text") \
  X(too_many,               "too-many",               applayer, "more pending commands, recipients or transactions than are kept") \
  X(early_talker,           "early-talker",           applayer, "client spoke before the greeting") \
  X(tls_on_smtp_port,       "tls-on-smtp-port",       applayer, "TLS without STARTTLS on a port of clear SMTP") \
  X(not_smtp,               "not-smtp",               applayer, "conversation on a mail port that is not SMTP") \
  X(scan_probe,             "scan-probe",             applayer, "connection that leaves without a command") \
  X(bad_auth,               "bad-auth",               applayer, "AUTH exchange malformed") \
  X(aborted_message,        "aborted-message",        applayer, "connection ended inside a message") \
  X(bad_proxy_preamble,     "bad-proxy-preamble",     applayer, "PROXY protocol preamble malformed") \
  X(bad_client_hello,       "bad-client-hello",       applayer, "TLS ClientHello malformed") \
  /* MIME */ \
  X(dup_cte,                "dup-cte",                applayer, "more than one Content-Transfer-Encoding; every reading is scanned") \
  X(dup_header,             "dup-header",             applayer, "a header field that may stand once stands twice") \
  X(header_limit,           "header-limit",           applayer, "header fields or header octets at their bound") \
  X(bad_header,             "bad-header",             applayer, "header line that is no field") \
  X(part_limit,             "part-limit",             applayer, "MIME parts at their bound; the rest is scanned raw") \
  X(depth_limit,            "depth-limit",            applayer, "MIME nesting at its bound; the rest is scanned raw") \
  X(bad_boundary,           "bad-boundary",           applayer, "boundary missing, ambiguous or over its length") \
  X(missing_boundary,       "missing-boundary",       applayer, "multipart that its boundary never ends") \
  X(partial_message,        "partial-message",        applayer, "message/partial: a message in fragments, of which none is whole") \
  X(bad_base64,             "bad-base64",             applayer, "octets outside the base64 alphabet, or wrong padding") \
  X(bad_quoted_printable,   "bad-quoted-printable",   applayer, "malformed quoted-printable") \
  X(charset,                "charset",                applayer, "charset unknown, or text that is not of it; scanned raw") \
  X(two_names,              "two-names",              applayer, "an attachment with names that differ") \
  X(bad_parameter,          "bad-parameter",          applayer, "header field parameter malformed") \
  X(url_limit,              "url-limit",              applayer, "URLs at their bound") \
  X(deceptive_url,          "deceptive-url",          applayer, "URL whose true host is hidden from the reader") \
  X(defanged_url,           "defanged-url",           applayer, "URL written so that it is not a link") \
  X(limit,                  "limit",                  applayer, "decoding stopped at its octet, depth or time budget") \
  /* engine */ \
  X(scan_budget,            "scan-budget",            applayer, "flow past its scan budget; the rest takes the declared policy") \
  X(event_truncated,        "event-truncated",        applayer, "an event did not fit its record; lists were cut")
// clang-format on

namespace sluice::contract {

enum class AnomalyLayer : std::uint8_t { decode, stream, applayer };

enum class Anomaly : std::uint8_t {
#define X(id, name, layer, text) id,
  SLUICE_ANOMALIES(X)
#undef X
};

struct AnomalyInfo {
  std::string_view name;
  AnomalyLayer layer;
  std::string_view description;
};

inline constexpr AnomalyInfo kAnomalies[] = {
#define X(id, name, layer, text) {name, AnomalyLayer::layer, text},
    SLUICE_ANOMALIES(X)
#undef X
};
inline constexpr std::size_t kAnomalyCount = std::size(kAnomalies);
static_assert(kAnomalyCount <= 128, "AnomalySet holds 128 kinds");

constexpr const AnomalyInfo& info(Anomaly a) { return kAnomalies[static_cast<std::size_t>(a)]; }

// Which kinds a flow has already raised: each is an event once per flow.
class AnomalySet {
 public:
  // True when `a` was not in the set.
  bool insert(Anomaly a) {
    const auto bit = static_cast<std::size_t>(a);
    const std::uint64_t mask = std::uint64_t{1} << (bit % 64);
    const bool fresh = (words_[bit / 64] & mask) == 0;
    words_[bit / 64] |= mask;
    return fresh;
  }
  bool contains(Anomaly a) const {
    const auto bit = static_cast<std::size_t>(a);
    return (words_[bit / 64] >> (bit % 64)) & 1;
  }

 private:
  std::uint64_t words_[2]{};
};

}  // namespace sluice::contract
