// Conversations that have something in common, in no order. Each knows its place in the list, so
// that it is added and taken out in O(1).
#pragma once

#include <cstdint>
#include <memory_resource>
#include <vector>

#include "dataplane/inspect/conversation.h"

namespace sluice::inspect {

class Roster {
 public:
  // `place`: which of a conversation's places is this list's.
  Roster(std::size_t place, std::pmr::memory_resource* memory) : place_(place), list_(memory) {}

  bool empty() const { return list_.empty(); }
  std::size_t size() const { return list_.size(); }
  Conversation& operator[](std::size_t i) const { return *list_[i]; }
  // Nothing when it is there already. std::bad_alloc.
  void add(Conversation& c) {
    if (c.place(place_) != Conversation::kNowhere) return;
    list_.push_back(&c);
    c.place(place_) = static_cast<std::uint32_t>(list_.size() - 1);
  }
  // The last one takes its place. Nothing when it is not there.
  void remove(Conversation& c) {
    std::uint32_t& place = c.place(place_);
    if (place == Conversation::kNowhere) return;
    Conversation* last = list_.back();
    list_[place] = last;
    last->place(place_) = place;
    place = Conversation::kNowhere;
    list_.pop_back();
  }

 private:
  std::size_t place_;
  std::pmr::vector<Conversation*> list_;
};

}  // namespace sluice::inspect
