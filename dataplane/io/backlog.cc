#include "dataplane/io/backlog.h"

#include <algorithm>

namespace sluice::io {

Backlog::Backlog(std::size_t capacity, const SpreadKey& key, std::size_t crowd)
    : key_(key), nodes_(capacity), crowd_from_(crowd) {
  free_.reserve(capacity);
  for (std::size_t i = capacity; i > 0; --i) free_.push_back(static_cast<std::uint16_t>(i - 1));
}

bool Backlog::is_light_or_put(void* frame, Bytes octets, Side from) {
  const Whose of = whose(octets, from, key_);
  const auto host = of.host;
  const auto flow = static_cast<std::uint16_t>(of.flow >> 52);
  static_assert(kFlows == std::size_t{1} << (64 - 52));
  Queue& queue = queues_[host];
  if (queue.round != round_) {
    queue.round = round_;
    queue.light = 0;
  }
  if (of.segment && of.payload <= kLight && waiting_[flow] == 0 && queue.odd == 0 &&
      queue.light < kLightEach) {
    ++queue.light;
    return true;
  }

  const std::uint16_t at = free_.back();
  free_.pop_back();
  ++used_;
  nodes_[at] = {.frame = frame,
                .octets = static_cast<std::uint32_t>(octets.size()),
                .flow = of.segment ? flow : kNone,
                .before = queue.last,
                .next = kNone};
  (queue.last == kNone ? queue.first : nodes_[queue.last].next) = at;
  queue.last = at;
  if (of.segment) {
    ++waiting_[flow];
  } else {
    ++queue.odd;
  }
  ++queue.frames;
  if (queue.crowd) ++crowd_frames_;
  if (!queue.crowd && crowd_from_ > 0 && queue.frames >= crowd_from_) set_crowd(queue, true);
  if (!queue.in_turn) {
    queue.in_turn = true;
    queue.deficit = kQuantum;
    turn_[(turn_first_ + turns_++) % kHosts] = host;
  }
  return false;
}

void Backlog::set_crowd(Queue& queue, bool crowd) {
  const auto host = static_cast<std::size_t>(&queue - queues_.data());
  const std::uint64_t bit = std::uint64_t{1} << (host % 64);
  queue.crowd = crowd;
  if (crowd) {
    crowd_[host / 64] |= bit;
    crowd_frames_ += queue.frames;
  } else {
    crowd_[host / 64] &= ~bit;
    crowd_frames_ -= queue.frames;
  }
}

// The node is free again; its content stands until the next frame is put in.
std::uint16_t Backlog::remove(Queue& queue, std::uint16_t at) {
  const Node& node = nodes_[at];
  (node.before == kNone ? queue.first : nodes_[node.before].next) = node.next;
  (node.next == kNone ? queue.last : nodes_[node.next].before) = node.before;
  --queue.frames;
  if (queue.crowd) --crowd_frames_;
  if (queue.crowd && queue.frames <= crowd_from_ / 2) set_crowd(queue, false);
  if (node.flow == kNone) {
    --queue.odd;
  } else {
    --waiting_[node.flow];
  }
  free_.push_back(at);
  --used_;
  return at;
}

std::size_t Backlog::take(std::span<void*> frames) {
  std::size_t count = 0;
  while (count < frames.size() && turns_ > 0) {
    const std::uint8_t host = turn_[turn_first_];
    Queue& queue = queues_[host];
    if (queue.frames == 0 || queue.deficit <= 0) {
      turn_first_ = (turn_first_ + 1) % kHosts;
      --turns_;
      queue.in_turn = queue.frames > 0;
      if (!queue.in_turn) continue;
      queue.deficit += kQuantum;
      turn_[(turn_first_ + turns_++) % kHosts] = host;
      continue;
    }
    const Node& node = nodes_[remove(queue, queue.first)];
    queue.deficit -= static_cast<std::int32_t>(node.octets);
    frames[count++] = node.frame;
  }
  return count;
}

void* Backlog::evict() {
  const auto longest =
      std::max_element(queues_.begin(), queues_.end(),
                       [](const Queue& a, const Queue& b) { return a.frames < b.frames; });
  return nodes_[remove(*longest, longest->last)].frame;
}

}  // namespace sluice::io
