// The verdict on a message: rule hits and score against the thresholds of the client's group, then
// what was ordered for the host. One rule hit stops one message; a host is acted on by control.
#include <algorithm>
#include <functional>

#include "dataplane/inspect/conversation.h"

namespace sluice::inspect {

using contract::Counter;
using contract::DropReason;
using contract::Verdict;

namespace {

// Of two verdicts the stronger one stands.
int strength(Verdict v) {
  switch (v) {
    case Verdict::pass:
      return 0;
    case Verdict::tag:
      return 1;
    case Verdict::tempfail:
      return 2;
    case Verdict::reject:
      return 3;
    case Verdict::reset:
      return 4;
    case Verdict::drop:
      return 5;
  }
  return 0;
}

}  // namespace

namespace {
std::int64_t hundredths(std::int64_t thousandths) {
  return (thousandths + (thousandths < 0 ? -5 : 5)) / 10;
}
}  // namespace

bool acts(Verdict v) { return strength(v) >= strength(Verdict::tempfail); }

std::pmr::vector<scan::Hit> Conversation::gather_hits(bool ended) {
  if (message_) message_->settle();
  if (smuggled_ && smuggled_->message) smuggled_->message->settle();
  if (!scan_) return std::pmr::vector<scan::Hit>(&memory_);
  std::pmr::vector<scan::Hit> hits = ended ? scan_->hits() : scan_->certain_hits();
  if (scan_->incomplete()) context_.count(Counter::memory_refused);
  // When each became known depends on the cuts; its place among the rules does not.
  std::sort(hits.begin(), hits.end(), [](const scan::Hit& a, const scan::Hit& b) {
    return a.spam != b.spam ? b.spam : std::less<>()(a.rule, b.rule);
  });
  hits.insert(hits.end(), scan_->list_hits().begin(), scan_->list_hits().end());
  return hits;
}

bool Conversation::enforcing() const { return context_.enforcing(identity_.key.wire()); }

// Commands behind an end-of-data that only some servers see, where the operator wants none of it.
bool Conversation::smuggling_forbidden() const {
  return context_.policy->exceptions().smuggling == policy::Exception::fail_closed &&
         anomalies_.contains(contract::Anomaly::smuggled_commands);
}

bool Conversation::limited(const policy::HostRule& rule) {
  // The bucket is the prefix's: an operator limits a prefix as one.
  return !context_.host_limits.take(rule.prefix, rule.rate_per_hour, rule.burst,
                                    context_.now.monotonic);
}

contract::Verdict Conversation::verdict_of(std::span<const scan::Hit> hits) const {
  const policy::Group& group = context_.policy->group_of(identity_.client());
  Verdict verdict = Verdict::pass;
  std::int64_t score = 0;
  const auto raise = [&](Verdict v) {
    if (strength(v) > strength(verdict)) verdict = v;
  };
  for (const scan::Hit& hit : hits) {
    score += hit.thousandths;
    switch (hit.rule->action) {
      case scan::RuleAction::alert:
        break;
      case scan::RuleAction::pass:
        return Verdict::pass;
      case scan::RuleAction::tempfail:
        raise(Verdict::tempfail);
        break;
      case scan::RuleAction::reject:
        raise(group.rule_reject);
        break;
      case scan::RuleAction::drop:
        raise(group.rule_drop);
        break;
    }
  }
  score = hundredths(score);
  if (score >= group.tag_score) raise(Verdict::tag);
  if (score >= group.tempfail_score) raise(Verdict::tempfail);
  if (score >= group.reject_score) raise(group.rule_reject);
  return verdict;
}

void Conversation::judge(Transaction& transaction) {
  const policy::Policy& policy = *context_.policy;
  const policy::Group& group = policy.group_of(identity_.client());
  const std::pmr::vector<scan::Hit> hits = gather_hits();
  Verdict verdict = verdict_of(hits);
  std::int64_t thousandths = 0;
  Transaction::Outcome& outcome = transaction.decided(&memory_);
  outcome.rules.clear();
  for (const scan::Hit& hit : hits) {
    thousandths += hit.thousandths;
    if (outcome.rules.size() < kMaxListed) outcome.rules.emplace_back(hit.rule->name);
  }
  transaction.score = static_cast<std::int32_t>(
      std::clamp<std::int64_t>(hundredths(thousandths), INT32_MIN, INT32_MAX));
  if (verdict != Verdict::pass) {
    // The first rule that alone gives this verdict, else the sum.
    outcome.reason = "score";
    for (const scan::Hit& hit : hits) {
      if (hit.rule->score == 0 && verdict_of({&hit, 1}) == verdict) {
        outcome.reason = "rule ";
        outcome.reason += hit.rule->name;
        break;
      }
    }
  } else if (std::any_of(hits.begin(), hits.end(), [](const scan::Hit& h) {
               return h.rule->action == scan::RuleAction::pass;
             })) {
    outcome.reason = "pass rule";
  }
  const auto raise = [&](Verdict v, std::string_view why) {
    if (strength(v) <= strength(verdict)) return;
    verdict = v;
    outcome.reason = why;
  };
  if (smuggling_forbidden()) raise(group.rule_reject, "smuggling");
  if (scan_ && scan_->incomplete() && policy.exceptions().memory == policy::Exception::fail_closed)
    raise(Verdict::tempfail, "scan-incomplete");
  if (message_ && message_->over_budget() &&
      policy.exceptions().scan_budget == policy::Exception::fail_closed)
    raise(Verdict::tempfail, "scan-budget");

  // An incomplete message cannot be accepted by the server: it is reported, not acted on.
  const bool complete = transaction.complete;
  const policy::HostRule* host = policy.host(identity_.client());
  if (host) {
    switch (host->action) {
      case policy::HostAction::allow:
        if (acts(verdict)) {
          verdict = Verdict::tag;
          outcome.reason += ", host allowed";
        }
        break;
      case policy::HostAction::limit:
        if (complete && !acts(verdict) && limited(*host)) raise(Verdict::tempfail, "host-limited");
        break;
      case policy::HostAction::tempfail:
        raise(Verdict::tempfail, "host-tempfail");
        break;
      case policy::HostAction::reject:
        raise(Verdict::reject, "host-reject");
        break;
      case policy::HostAction::tarpit:
      case policy::HostAction::block:
        break;  // acted on segment by segment
    }
  }
  transaction.verdict = verdict;
  const bool by_host = outcome.reason.starts_with("host-");
  if (acts(verdict) && !by_host) context_.count(Counter::messages_condemned);
  transaction.enforced = complete && acts(verdict) && enforcing();
  // Most mail hits some rule of SpamAssassin's; they are alerts when the score means something. The
  // event of the transaction names them always.
  for (const scan::Hit& hit : hits)
    if (!hit.spam || transaction.verdict != Verdict::pass)
      emit_alert(hit, transaction.id, transaction.enforced);

  if (!transaction.enforced) return;
  context_.count(Counter::messages_blocked);
  stop_ = make_pmr<Stop>(&memory_, &memory_);
  stop_->verdict = verdict;
  switch (verdict) {
    case Verdict::tempfail:
      stop_->drop = by_host ? DropReason::host_limited : DropReason::message_tempfailed;
      break;
    case Verdict::reset:
      stop_->drop = DropReason::flow_reset;
      break;
    case Verdict::drop:
      stop_->drop = DropReason::message_dropped;
      break;
    default:
      stop_->drop = DropReason::message_rejected;
      break;
  }
  stop_->reply = reply_text(transaction);
}

// One line, or for LMTP one for each accepted recipient (RFC 2033 4.2); empty when the client is
// to get no reply.
std::pmr::string Conversation::reply_text(const Transaction& transaction) const {
  std::pmr::string reply(context_.memory);
  if (transaction.verdict != Verdict::tempfail && transaction.verdict != Verdict::reject)
    return reply;
  const bool temporary = transaction.verdict == Verdict::tempfail;
  const bool enhanced = session_->enhanced_status_codes_offered();
  const policy::Texts& texts = context_.policy->texts();
  const policy::HostRule* host = context_.policy->host(identity_.client());
  std::string_view text = temporary ? texts.tempfailed : texts.rejected;
  if (transaction.reason() == "host-limited") text = texts.limited;
  if (host && !host->text.empty() && transaction.reason().starts_with("host-")) text = host->text;
  std::size_t lines = 1;
  if (lmtp_) {
    lines = static_cast<std::size_t>(
        std::count_if(transaction.recipients.begin(), transaction.recipients.end(),
                      [](const Recipient& r) { return r.code < 300; }));
  }
  for (std::size_t i = 0; i < std::max<std::size_t>(lines, 1); ++i) {
    reply += temporary ? "451 " : "550 ";
    if (enhanced) reply += temporary ? "4.7.1 " : "5.7.1 ";
    reply += text;
    reply += "\r\n";
  }
  return reply;
}

}  // namespace sluice::inspect
