// Standing among other threads of the machine, for a dataplane that shares its cores.
#pragma once

#include <vector>

namespace sluice::app {

// Whether every worker has a CPU to itself and one of the `allowed` is left to all others. Only
// then may workers take what they want.
bool own_cpus(std::vector<unsigned> worker_cpus, const std::vector<unsigned>& allowed);

// Where the kernel schedules by session (sched(7), autogroup), nice values count only within one:
// ours gets the standing that the workers' have. Nothing happens when the session is another's.
void favour_session();

// The calling worker before others, and in turns so short that it preempts them as it wakes.
void favour_worker();

}  // namespace sluice::app
