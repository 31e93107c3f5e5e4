#include "control/publish/publisher.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "control/publish/image.h"

namespace sluice::control {

struct Publisher::Built {
  UniqueFd image;
  std::size_t size = 0;
  std::uint32_t epoch = 0;
  std::array<std::uint8_t, 32> digest{};
  std::array<std::uint8_t, 32> lists_digest{};
  std::string error;
};

Publisher::Publisher(DataplaneChannel& channel, Executor& executor, Clock clock)
    : channel_(channel), executor_(executor), clock_(std::move(clock)) {}

void Publisher::raise_epoch(std::uint32_t at_least) { epoch_ = std::max(epoch_, at_least); }

void Publisher::publish(PolicyInput input, Done done) {
  wanted_ = std::make_shared<const PolicyInput>(std::move(input));
  dirty_ = true;
  if (done) waiting_.push_back(std::move(done));
  start();
}

void Publisher::start() {
  if (!dirty_ || building_ || flying_) return;
  if (!channel_.connected()) {
    PublishOutcome outcome;
    outcome.reason = channel_.last_reason();
    for (Done& done : std::exchange(waiting_, {})) done(outcome);
    return;  // stays dirty: sent when a dataplane comes
  }
  dirty_ = false;
  building_ = true;
  for (Done& done : std::exchange(waiting_, {})) carried_.push_back(std::move(done));
  const auto input = wanted_;
  const std::uint32_t epoch = ++epoch_;
  const bool whole = std::exchange(send_ruleset_, false);
  const bool with_ruleset = whole || input->rules->digest != live_digest_;
  const bool with_lists = whole || input->lists->digest != live_lists_;
  auto result = std::make_shared<Built>();
  executor_.run(
      [input, epoch, with_ruleset, with_lists, result] {
        result->epoch = epoch;
        result->digest = input->rules->digest;
        result->lists_digest = input->lists->digest;
        const PolicySpec spec = policy_spec(*input->configuration, epoch, input->hosts());
        const auto image =
            build_image(spec, *input->rules, with_ruleset, *input->lists, with_lists);
        if (!image) {
          result->error = image.error();
          return;
        }
        auto fd = sealed_memfd(*image);
        if (!fd) {
          result->error = fd.error();
          return;
        }
        result->image = std::move(*fd);
        result->size = image->size();
      },
      [this, result] { built(result); });
}

void Publisher::built(const std::shared_ptr<Built>& result) {
  building_ = false;
  if (!result->error.empty()) {
    ++refusals_;
    last_refusal_ = result->error;
    PublishOutcome outcome;
    outcome.status = PublishOutcome::Status::refused;
    outcome.reason = result->error;
    finish(outcome);
    return;
  }
  last_size_ = result->size;
  flying_digest_ = result->digest;
  flying_lists_ = result->lists_digest;
  if (channel_.publish(result->epoch, std::move(result->image), result->size, clock_())) {
    flying_ = true;
    return;
  }
  // The dataplane went while the image was built.
  dirty_ = true;
  PublishOutcome outcome;
  outcome.reason = channel_.last_reason();
  finish(outcome);
}

void Publisher::policy_answered(const contract::ChannelPolicyAnswer& answer) {
  if (!flying_) return;
  flying_ = false;
  PublishOutcome outcome;
  switch (answer.status) {
    case contract::PolicyStatus::adopted:
      adopted_ = answer.epoch;
      live_digest_ = flying_digest_;
      live_lists_ = flying_lists_;
      ++adoptions_;
      last_nanoseconds_ = answer.nanoseconds;
      last_refusal_.clear();
      outcome.status = PublishOutcome::Status::adopted;
      outcome.epoch = answer.epoch;
      outcome.nanoseconds = answer.nanoseconds;
      break;
    case contract::PolicyStatus::needs_ruleset:
      if (live_digest_ != decltype(live_digest_){} || live_lists_ != decltype(live_lists_){}) {
        // It forgot a ruleset or lists that it had: once more, whole.
        live_digest_ = {};
        live_lists_ = {};
        send_ruleset_ = true;
        dirty_ = true;
        for (Done& done : std::exchange(carried_, {})) waiting_.push_back(std::move(done));
        start();
        return;
      }
      [[fallthrough]];  // it was sent whole, and still: a fault that repeating does not cure
    case contract::PolicyStatus::refused:
    default:
      ++refusals_;
      last_refusal_ = answer.reason[0] != '\0' ? answer.reason : "no reason given";
      outcome.status = PublishOutcome::Status::refused;
      outcome.reason = last_refusal_;
      break;
  }
  finish(outcome);
}

void Publisher::finish(const PublishOutcome& outcome) {
  for (Done& done : std::exchange(carried_, {})) done(outcome);
  start();
}

void Publisher::dataplane_connected(const contract::ChannelHello& hello) {
  raise_epoch(hello.policy_epoch);
  std::memcpy(live_digest_.data(), hello.ruleset_digest, live_digest_.size());
  const bool has_ours = adopted_ != 0 && hello.policy_epoch == adopted_ && wanted_ != nullptr &&
                        live_digest_ == wanted_->rules->digest;
  if (!has_ours && wanted_ != nullptr) dirty_ = true;
  start();
}

void Publisher::dataplane_disconnected(const std::string& reason) {
  live_digest_ = {};
  live_lists_ = {};
  if (!flying_) return;
  flying_ = false;
  dirty_ = true;
  PublishOutcome outcome;
  outcome.reason = reason;
  finish(outcome);
}

}  // namespace sluice::control
