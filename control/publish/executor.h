// Where slow work is done (compiling rules, building images, writing to disk and to the kernel's
// lists), so that the loop that decides never waits.
#pragma once

#include <functional>

namespace sluice::control {

class Executor {
 public:
  // Runs `work` elsewhere, in the order given; then `done` in the loop's thread.
  virtual void run(std::function<void()> work, std::function<void()> done) = 0;

 protected:
  ~Executor() = default;
};

}  // namespace sluice::control
