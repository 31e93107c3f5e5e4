#include "dataplane/inspect/flow_scan.h"

#include <algorithm>
#include <functional>

#include "dataplane/scan/ruleset.h"

namespace sluice::inspect {

using contract::Counter;
using scan::Buffer;
using scan::MessageScan;

FlowScan::FlowScan(Context& context, std::pmr::memory_resource* memory)
    : context_(context), memory_(memory), pin_(*this), list_hits_(memory) {
  context_.rulesets.pin(pin_);
}

// The scans go before the pin.
FlowScan::~FlowScan() { drop(); }

bool FlowScan::wanted(Buffer buffer) const {
  return pin_.held() && MessageScan::wanted(pin_.ruleset(), buffer);
}

MessageScan FlowScan::make() { return {pin_.scratch(), memory_}; }

MessageScan& FlowScan::main() {
  if (!main_) main_.emplace(make());
  return *main_;
}

FlowScan::Others& FlowScan::others() {
  if (!others_) others_ = make_pmr<Others>(memory_, memory_);
  return *others_;
}

MessageScan& FlowScan::other() {
  auto& session = others().session;
  if (!session) session.emplace(make());
  return *session;
}

void FlowScan::feed(Buffer buffer, Bytes octets) {
  if (wanted(buffer)) main().feed(buffer, octets);
}

void FlowScan::end_item(Buffer buffer) {
  if (wanted(buffer)) main().end_item(buffer);
}

void FlowScan::whole(Buffer buffer, Bytes item, bool another) {
  if (wanted(buffer)) main().whole(buffer, item, another);
}

void FlowScan::feed_other(Buffer buffer, Bytes octets) {
  if (wanted(buffer)) other().feed(buffer, octets);
}

void FlowScan::end_other(Buffer buffer) {
  if (wanted(buffer)) other().end_item(buffer);
}

void FlowScan::whole_other(Buffer buffer, Bytes item, bool another) {
  if (wanted(buffer)) other().whole(buffer, item, another);
}

bool FlowScan::feed_part(mime::PartNumber part, Bytes octets) {
  if (!wanted(Buffer::decoded) && !wanted(Buffer::text)) return true;
  auto& parts = others().parts;
  auto at =
      std::find_if(parts.begin(), parts.end(), [part](const Part& p) { return p.number == part; });
  if (at == parts.end()) {
    if (parts.size() >= kMaxParts) {
      parts_incomplete_ = true;
      return false;
    }
    parts.push_back({part, make()});
    at = std::prev(parts.end());
  }
  for (const Buffer b : {Buffer::decoded, Buffer::text})
    if (wanted(b)) at->scan.feed(b, octets);
  return true;
}

void FlowScan::end_part(mime::PartNumber part) {
  if (!others_) return;
  auto& parts = others_->parts;
  const auto at =
      std::find_if(parts.begin(), parts.end(), [part](const Part& p) { return p.number == part; });
  if (at == parts.end()) return;
  at->scan.settle();
  take_hits(at->scan);
  parts.erase(at);
}

void FlowScan::end_parts() {
  while (others_ && !others_->parts.empty()) end_part(others_->parts.front().number);
}

void FlowScan::take_hits(const MessageScan& from) {
  parts_incomplete_ = parts_incomplete_ || from.incomplete();
  auto& hits = others().hits;
  for (const scan::Hit& hit : from.hits())
    if (std::none_of(hits.begin(), hits.end(),
                     [&](const scan::Hit& known) { return known.rule == hit.rule; }))
      hits.push_back(hit);
}

bool FlowScan::wants_spam() const { return pin_.held() && pin_.ruleset().spam() != nullptr; }

void FlowScan::begin_spam(const spam::SpamScan::Options& options) {
  spam_.reset();
  if (wants_spam())
    spam_ =
        make_pmr<spam::SpamScan>(memory_, *pin_.ruleset().spam(), pin_.scratch(), options, memory_);
}

void FlowScan::feed_spam(Bytes octets) {
  if (spam_) spam_->feed(octets);
}

void FlowScan::finish_spam() {
  if (!spam_) return;
  if (main_) {
    for (const scan::Hit& hit : main_->hits()) {
      const auto rule = static_cast<std::uint32_t>(hit.rule - pin_.ruleset().rules().data());
      if (const std::uint32_t test = pin_.ruleset().spam_test(rule)) spam_->set_full(test - 1);
    }
  }
  spam_->finish();
}

std::pmr::vector<scan::Hit> FlowScan::hits() {
  if (main_) main_->settle();
  if (others_ && others_->session) others_->session->settle();
  return certain_hits();
}

std::pmr::vector<scan::Hit> FlowScan::certain_hits() {
  std::pmr::vector<scan::Hit> all(memory_);
  if (main_) all.assign(main_->hits().begin(), main_->hits().end());
  if (others_) {
    if (others_->session) take_hits(*others_->session);
    for (const scan::Hit& hit : others_->hits)
      if (std::none_of(all.begin(), all.end(),
                       [&](const scan::Hit& h) { return h.rule == hit.rule; }))
        all.push_back(hit);
  }
  // What stands for a test of SpamAssassin's is no hit of its own.
  if (wants_spam())
    std::erase_if(all, [&](const scan::Hit& hit) {
      const auto rule = static_cast<std::uint32_t>(hit.rule - pin_.ruleset().rules().data());
      return pin_.ruleset().spam_test(rule) != 0;
    });
  if (spam_) all.insert(all.end(), spam_->hits().begin(), spam_->hits().end());
  return all;
}

void FlowScan::look_up_address(lists::Place place, std::string_view address) {
  if (!wants(place)) return;
  list_place_ = place == lists::Place::sender      ? Buffer::mail_from
                : place == lists::Place::recipient ? Buffer::rcpt_to
                                                   : Buffer::from;
  pin_.lists().find_address(place, address, *this);
}

void FlowScan::look_up_url(std::string_view url, std::string_view host) {
  if (!wants(lists::Place::url)) return;
  list_place_ = Buffer::url;
  pin_.lists().find_url(url, host, memory_, *this);
}

void FlowScan::look_up_name(std::string_view name) {
  if (!wants(lists::Place::attachment)) return;
  list_place_ = Buffer::name;
  pin_.lists().find_name(name, *this);
}

void FlowScan::look_up_md5(const std::array<std::uint8_t, 16>& digest) {
  if (!wants(lists::Place::attachment)) return;
  list_place_ = Buffer::name;
  pin_.lists().find_md5(digest, *this);
}

void FlowScan::look_up_sha256(const std::array<std::uint8_t, 32>& digest) {
  if (!wants(lists::Place::attachment)) return;
  list_place_ = Buffer::name;
  pin_.lists().find_sha256(digest, *this);
}

void FlowScan::on_list(const lists::List& list) {
  if (std::none_of(list_hits_.begin(), list_hits_.end(),
                   [&](const scan::Hit& hit) { return hit.rule == &list.rule; }))
    list_hits_.push_back({&list.rule, list_place_, 10 * list.rule.score});
}

// When each became known depends on the cuts; its place among the lists does not.
const std::pmr::vector<scan::Hit>& FlowScan::list_hits() {
  std::sort(list_hits_.begin(), list_hits_.end(),
            [](const scan::Hit& a, const scan::Hit& b) { return std::less<>()(a.rule, b.rule); });
  return list_hits_;
}

bool FlowScan::incomplete() const {
  return !pin_.held() || parts_incomplete_ || (main_ && main_->incomplete());
}

std::optional<FlowScan::Unscanned> FlowScan::unscanned() const {
  if (incomplete() ||
      (others_ && (others_->session || !others_->parts.empty() || !others_->hits.empty())))
    return std::nullopt;
  Unscanned result{.stream = {}, .found = !list_hits_.empty()};
  if (!main_) return result;
  const std::optional<Bytes> stream = main_->unscanned();
  if (!stream) return std::nullopt;
  result.stream = *stream;
  result.found = result.found || main_->found();
  return result;
}

void FlowScan::compress() {
  if (main_) main_->compress();
  if (!others_) return;
  if (others_->session) others_->session->compress();
  for (Part& part : others_->parts) part.scan.compress();
}

void FlowScan::next_transaction() {
  if (main_) main_->next_transaction();
  spam_.reset();
  others_.reset();
  parts_incomplete_ = false;
  list_hits_.clear();
  renew();
}

void FlowScan::renew() {
  if (pin_.held() && context_.rulesets.in_force(pin_)) return;
  drop();
  context_.rulesets.pin(pin_);
}

void FlowScan::drop() {
  main_.reset();
  spam_.reset();
  others_.reset();
  parts_incomplete_ = false;
  list_hits_.clear();
  pin_.release();
}

void FlowScan::withdraw_ruleset() {
  context_.count(Counter::rulesets_withdrawn);
  drop();
}

}  // namespace sluice::inspect
