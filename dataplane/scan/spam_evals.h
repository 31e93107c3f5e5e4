// The native functions that rules can name with `eval:`. Both sides know them by their index here:
// append, never renumber. What they do: dataplane/spam/evals.h.
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::scan {

// What a function looks at in a message and nothing else: without it, it gives 0.
enum class SpamNeed : std::uint8_t {
  nothing,
  html,    // a part of HTML
  images,  // as far as their sizes are read
};
inline constexpr std::size_t kSpamNeedCount = 3;

struct SpamEval {
  std::string_view name;
  std::uint8_t least;  // arguments
  std::uint8_t most;
  SpamNeed need = SpamNeed::nothing;
  bool counts = false;  // its need is none when the second argument is not above 0
};

inline constexpr SpamEval kSpamEvals[] = {
    // MIME
    {"check_for_mime", 1, 1},
    {"check_for_mime_html", 0, 0},
    {"check_for_mime_html_only", 0, 0},
    {"check_mime_multipart_ratio", 2, 2},
    {"check_msg_parse_flags", 1, 1},
    {"check_for_ascii_text_illegal", 0, 0},
    {"check_abundant_unicode_ratio", 1, 1},
    {"check_for_faraway_charset", 0, 0},
    {"check_for_uppercase", 2, 2},
    {"check_ma_non_text", 0, 0},
    {"check_base64_length", 1, 2},
    {"check_qp_ratio", 1, 1},
    // HTML
    {"html_tag_balance", 2, 2, SpamNeed::html},
    {"html_image_only", 2, 2, SpamNeed::html},
    {"html_image_ratio", 2, 2, SpamNeed::html},
    {"html_charset_faraway", 0, 0},
    {"html_tag_exists", 1, 1, SpamNeed::html},
    {"html_test", 1, 1, SpamNeed::html},
    {"html_eval", 2, 2, SpamNeed::html},
    {"html_text_match", 2, 2, SpamNeed::html},
    {"html_title_subject_ratio", 1, 1, SpamNeed::html},
    {"html_text_not_match", 2, 2, SpamNeed::html},
    {"html_range", 2, 3, SpamNeed::html},
    {"check_iframe_src", 0, 0, SpamNeed::html},
    // body
    {"multipart_alternative_difference", 2, 2},
    {"multipart_alternative_difference_count", 2, 2},
    {"check_blank_line_ratio", 2, 3},
    {"tvd_vertical_words", 2, 2},
    {"check_stock_info", 1, 1},
    {"check_body_length", 1, 1},
    {"plaintext_body_length", 1, 2},
    {"plaintext_sig_length", 1, 2},
    {"plaintext_body_sig_ratio", 1, 2},
    // header
    {"check_for_fake_aol_relay_in_rcvd", 0, 0},
    {"check_for_faraway_charset_in_headers", 0, 0},
    {"check_for_unique_subject_id", 0, 0},
    {"check_illegal_chars", 3, 3},
    {"check_for_forged_hotmail_received_headers", 0, 0},
    {"check_for_no_hotmail_received_headers", 0, 0},
    {"check_for_msn_groups_headers", 0, 0},
    {"check_for_forged_eudoramail_received_headers", 0, 0},
    {"check_for_forged_yahoo_received_headers", 0, 0},
    {"check_for_forged_juno_received_headers", 0, 0},
    {"check_for_forged_gmail_received_headers", 0, 0},
    {"check_for_matching_env_and_hdr_from", 0, 0},
    {"sorted_recipients", 0, 0},
    {"similar_recipients", 2, 2},
    {"check_for_missing_to_header", 0, 0},
    {"check_for_forged_gw05_received_headers", 0, 0},
    {"check_for_shifted_date", 2, 2},
    {"subject_is_all_caps", 0, 0},
    {"check_for_to_in_subject", 1, 1},
    {"check_outlook_message_id", 0, 0},
    {"check_messageid_not_usable", 0, 0},
    {"check_header_count_range", 3, 3},
    {"check_unresolved_template", 0, 0},
    {"check_ratware_name_id", 0, 0},
    {"check_ratware_envelope_from", 0, 0},
    {"gated_through_received_hdr_remover", 0, 0},
    {"check_equal_from_domains", 0, 0},
    // relays
    {"helo_ip_mismatch", 0, 0},
    {"check_all_trusted", 0, 0},
    {"check_no_relays", 0, 0},
    {"check_relays_unparseable", 0, 0},
    {"check_for_numeric_helo", 0, 0},
    {"check_for_sender_no_reverse", 0, 0},
    {"check_for_from_domain_in_received_headers", 2, 2},
    {"check_for_no_rdns_dotcom_helo", 0, 0},
    {"check_for_forged_received_trail", 0, 0},
    {"check_for_forged_received_ip_helo", 0, 0},
    // URLs
    {"check_uri_truncated", 0, 0},
    {"check_https_ip_mismatch", 0, 0, SpamNeed::html},
    {"check_https_http_mismatch", 0, 2, SpamNeed::html},
    {"check_uri_host_listed", 1, 1},
    {"check_uri_host_in_welcomelist", 0, 0},
    {"check_uri_host_in_whitelist", 0, 0},
    {"check_uri_host_in_blocklist", 0, 0},
    {"check_uri_host_in_blacklist", 0, 0},
    // lists of addresses
    {"check_freemail_from", 0, 1},
    {"check_freemail_header", 1, 2},
    {"check_freemail_replyto", 1, 1},
    {"check_from_in_list", 1, 1},
    {"check_replyto_in_list", 1, 1},
    // bounces
    {"check_welcomelist_bounce_relays", 0, 0},
    {"check_whitelist_bounce_relays", 0, 0},
    {"have_any_bounce_relays", 0, 0},
    // images
    {"image_count", 2, 3, SpamNeed::images, true},
    {"pixel_coverage", 2, 3, SpamNeed::images, true},
    {"image_size_exact", 3, 3, SpamNeed::images},
    {"image_size_range", 3, 5, SpamNeed::images},
    {"image_named", 1, 1, SpamNeed::images},
    {"image_to_text_ratio", 3, 3, SpamNeed::images},
};
inline constexpr std::uint32_t kSpamEvalCount = sizeof kSpamEvals / sizeof kSpamEvals[0];

constexpr std::uint32_t find_spam_eval(std::string_view name) {  // kSpamEvalCount: there is none
  std::uint32_t i = 0;
  while (i < kSpamEvalCount && kSpamEvals[i].name != name) ++i;
  return i;
}

}  // namespace sluice::scan
