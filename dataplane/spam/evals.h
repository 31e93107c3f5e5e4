// The native functions of `eval:` rules (scan/spam_evals.h has their names, and what they need to
// give more than 0), after the plugins of SpamAssassin. Each looks at the whole view when the
// message has ended.
#pragma once

#include <span>
#include <string_view>

#include "dataplane/scan/spam_rules.h"
#include "dataplane/spam/view.h"

namespace sluice::spam {

// What a function gives: 0 is no hit.
double run_eval(const View& view, const scan::SpamCall& call);
void prepare_evals();

using Arguments = std::span<const scan::SpamArgument>;
using EvalFunction = double (*)(const View& view, Arguments arguments);
struct NamedEval {
  std::string_view name;
  EvalFunction function;
};
// One list for each file.
std::span<const NamedEval> header_evals();
std::span<const NamedEval> received_evals();
std::span<const NamedEval> mime_evals();
std::span<const NamedEval> html_evals();
std::span<const NamedEval> list_evals();
void prepare_header_evals();
void prepare_received_evals();
void prepare_list_evals();

// Seconds since the epoch of an RFC 5322 date, as tolerantly as SpamAssassin reads it; false when
// it cannot be read.
bool read_date(std::string_view text, std::int64_t& seconds);
// The first date of a Received field, as SpamAssassin looks for it, the blank in front of it
// included: \s.?\d+ \S\S\S \d+ \d+:\d+:\d+ \S+; empty: there is none.
std::string_view date_in(std::string_view field);
// No usable Received fields, or such of list software that removes them.
bool gated(const View& view);
// The Received fields, each run of white space one blank. Valid as long as the view.
std::string_view squeezed_received(const View& view);

}  // namespace sluice::spam
