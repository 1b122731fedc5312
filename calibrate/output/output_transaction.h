// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "sharding/files/byte_sink.h"

namespace kvcalib {

// Called behind every step that changes the disk: for tests, which stop the process there or let
// the step fail.  They do it at every step, and at every step of a recovery behind each: thousands
// of times, too many to preload a library into a program and watch it from outside.
using StepHook = std::function<void(std::string_view step)>;

inline void tell(const StepHook& step, std::string_view what) {
  if (step) step(what);
}

// Runs what follows a commit.  When that fails the new files stay: throws Error that says so, by
// `standing`.
void run_after_commit(const std::function<void()>& rest,
                      const std::function<std::string()>& standing);

// A set of files that appears whole or not at all.  What is not committed is taken back on
// destruction, and before the process leaves by a signal.
class OutputTransaction {
 public:
  OutputTransaction() = default;
  OutputTransaction(const OutputTransaction&) = delete;
  OutputTransaction& operator=(const OutputTransaction&) = delete;
  virtual ~OutputTransaction() = default;

  // Stages a file.  Throws Error naming it and the system's reason, and what its content throws.
  virtual void write(std::string_view name, const FileContent& content) = 0;
  void write(std::string_view name, std::string_view bytes) {
    write(name, [bytes](ByteSink& file) { file.append(bytes); });
  }

  // Makes all staged files appear.  Throws Error with nothing changed, or, where the new files are
  // in force all the same, saying so.
  virtual void commit() = 0;

  void after_commit(const std::function<void()>& rest) const {
    run_after_commit(rest, [this] { return standing(); });
  }

  // What the user should know of what is written, a sentence each.
  const std::vector<std::string>& warnings() const { return warnings_; }

 protected:
  // "DIR holds the new files, whole": what stands behind commit(), whatever fails then.
  virtual std::string standing() const = 0;

  std::vector<std::string> warnings_;
};

}  // namespace kvcalib
