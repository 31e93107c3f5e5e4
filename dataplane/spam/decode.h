// What SpamAssassin decodes before its rules look: charsets, RFC 2047 words in header fields,
// transfer encodings of text parts. Each is on whole, bounded input.
#pragma once

#include <string_view>

#include "dataplane/spam/text.h"

namespace sluice::spam {

bool is_valid_utf8(std::string_view s);

// Text in `charset` (as declared, may be empty) appended to `out` as UTF-8: left alone where it is
// ASCII or valid UTF-8, decoded as declared, or as Windows-1252 when that fails. `insist`: the
// declared charset first (words of header fields).
void normalize(std::string_view text, std::string_view charset, bool insist, String& out);

// A header field's value, unfolded, with its words decoded. `name` in lower case: fields that are
// not text (Received, Message-ID, ...) keep their words.
void decode_header(std::string_view value, std::string_view name, String& out);

// `encoding` in lower case. Line ends of CR LF become LF where SpamAssassin does it.
void decode_transfer(std::string_view raw, std::string_view encoding, bool text, String& out);

void decode_base64(std::string_view in, String& out);
void decode_quoted_printable(std::string_view in, String& out);

}  // namespace sluice::spam
