// A message as `show messages` tells of it, made of its smtp event. Pure.
#pragma once

#include <nlohmann/json.hpp>

#include "control/store/message_journal.h"

namespace sluice::control {

// `event` is the number of the event in the run of sluiced that began at `run` (wall ns).
nlohmann::json message_row(const nlohmann::json& event, std::uint64_t event_id, std::uint64_t run);
JournalRow journal_row(const nlohmann::json& event, std::uint64_t event_id, std::uint64_t run,
                       const Address& source, std::uint64_t wall);

}  // namespace sluice::control
