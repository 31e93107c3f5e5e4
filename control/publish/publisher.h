// Keeps the policy of the dataplane equal to the one that control wants.
//
// Theory. There is one wanted policy at a time; a newer one replaces one that has not been sent.
// Building an image and sealing it happens off the loop; one image is in flight at a time. The
// ruleset section is left out when the dataplane has that ruleset (its digest is known from Hello
// and from what it adopted), and so are the lists; it may ask for them all the same. A dataplane
// that comes back is sent the policy again unless it still has the one of ours that it adopted
// last.
//
// One thread (that of the loop).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/api/config.h"
#include "control/policy/rules.h"
#include "control/publish/channel.h"
#include "control/publish/executor.h"

namespace sluice::control {

struct PolicyInput {
  std::shared_ptr<const Configuration> configuration;
  std::shared_ptr<const CompiledRules> rules;
  std::shared_ptr<const CompiledLists> lists;
  std::function<std::vector<policy::HostRule>()> hosts;  // called off the loop
};

struct PublishOutcome {
  enum class Status { adopted, refused, unavailable } status = Status::unavailable;
  std::string reason;             // of refused and unavailable
  std::uint32_t epoch = 0;        // adopted
  std::uint64_t nanoseconds = 0;  // adopted: from the image's arrival to the last worker's adoption
};

class Publisher {
 public:
  using Done = std::function<void(const PublishOutcome&)>;
  using Clock = std::function<Nanoseconds()>;

  // All must outlive the publisher; `executor` must have finished its work before.
  Publisher(DataplaneChannel& channel, Executor& executor, Clock clock);

  // Wants `input` from now on. `done` is called once, when it or a later one is adopted, refused,
  // or there is no dataplane (it is then sent when one comes).
  void publish(PolicyInput input, Done done = {});

  // To be told by the channel's handler.
  void dataplane_connected(const contract::ChannelHello& hello);
  void dataplane_disconnected(const std::string& reason);
  void policy_answered(const contract::ChannelPolicyAnswer& answer);

  // Epochs are given from the highest ever seen on.
  void raise_epoch(std::uint32_t at_least);
  std::uint32_t epoch() const { return epoch_; }            // of the last image built
  std::uint32_t adopted_epoch() const { return adopted_; }  // 0: none by this process
  std::uint64_t adoptions() const { return adoptions_; }
  std::uint64_t refusals() const { return refusals_; }
  std::uint64_t last_adoption_nanoseconds() const { return last_nanoseconds_; }
  std::size_t last_image_size() const { return last_size_; }
  const std::string& last_refusal() const { return last_refusal_; }
  bool idle() const { return !building_ && !flying_ && !dirty_; }

 private:
  struct Built;
  void start();
  void built(const std::shared_ptr<Built>& result);
  void finish(const PublishOutcome& outcome);

  DataplaneChannel& channel_;
  Executor& executor_;
  Clock clock_;
  std::shared_ptr<const PolicyInput> wanted_;
  std::vector<Done> waiting_;  // for what is wanted
  std::vector<Done> carried_;  // for what is being built or in flight
  bool dirty_ = false;         // what is wanted has not been taken up yet
  bool building_ = false;
  bool flying_ = false;
  bool send_ruleset_ = false;  // the dataplane asked for it
  std::uint32_t epoch_ = 0;
  std::uint32_t adopted_ = 0;
  std::array<std::uint8_t, 32> flying_digest_{};
  std::array<std::uint8_t, 32> live_digest_{};  // of the dataplane's ruleset
  std::array<std::uint8_t, 32> flying_lists_{};
  std::array<std::uint8_t, 32> live_lists_{};  // digest of the dataplane's lists
  std::uint64_t adoptions_ = 0;
  std::uint64_t refusals_ = 0;
  std::uint64_t last_nanoseconds_ = 0;
  std::size_t last_size_ = 0;
  std::string last_refusal_;
};

}  // namespace sluice::control
