// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

namespace kvcalib {

// What is done before INT, TERM, HUP or QUIT end the process; it still ends by that signal.
//
// While the first of these lives, and from then on, such a signal is noted, and a thread of its own
// runs all actions, the last one first, tells on stderr what they return (where it is not empty)
// and ends the process.  Actions wait for what must not be cut off (a mutex that a commit holds);
// the same signal a second time ends the process at once.  One that is ignored, as by nohup, still
// is.
class BeforeLeaving {
 public:
  using Action = std::function<std::string(int signal_number)>;

  explicit BeforeLeaving(Action action);
  // Once the process is leaving, this does not return; but one that an action makes and destroys
  // does nothing.
  ~BeforeLeaving();
  BeforeLeaving(const BeforeLeaving&) = delete;
  BeforeLeaving& operator=(const BeforeLeaving&) = delete;

 private:
  Action action_;
};

// The signal by which the process is about to end, for long work to look at; 0: none.
int leaving_signal();

// To be called before an end of the process or the report of a failure: does not return when the
// process is leaving by a signal, which may be the cause.
void wait_if_leaving();

// The process ends by this signal, here and now, as if it had never been handled.
[[noreturn]] void end_by_signal(int signal_number);

// Writing to a closed pipe or beyond the limit of a file's size fails, instead of killing.
void ignore_signals_of_writing();

}  // namespace kvcalib
