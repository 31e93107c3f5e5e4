// What SpamAssassin decodes before its rules look: charsets, RFC 2047 words in header fields,
// transfer encodings of text parts. Each is on whole, bounded input.
#pragma once

#include <string_view>

#include "dataplane/spam/text.h"
#include "dataplane/spam/text_buffer.h"

namespace sluice::spam {

bool is_valid_utf8(std::string_view s);

// Text in `charset` (as declared, may be empty) as UTF-8: itself where it is ASCII or valid UTF-8,
// else at the end of `out`, decoded as declared, or as Windows-1252 when that fails. `insist`: the
// declared charset first (words of header fields).
std::string_view normalize(std::string_view text, std::string_view charset, bool insist,
                           TextBuffer& out);

// Whether decode_header() may change the value.
bool has_encoded(std::string_view value, std::string_view name);
// Appends a header field's value, unfolded, with its words decoded. `name` in lower case: fields
// that are not text (Received, Message-ID, ...) keep their words.
void decode_header(std::string_view value, std::string_view name, String& out);

// `encoding` in lower case. Itself where it is not encoded, else decoded at the end of `out`. Line
// ends of CR LF become LF where SpamAssassin does it.
std::string_view decode_transfer(std::string_view raw, std::string_view encoding, bool text,
                                 TextBuffer& out);

void decode_base64(std::string_view in, TextBuffer& out);
void decode_quoted_printable(std::string_view in, TextBuffer& out);

}  // namespace sluice::spam
