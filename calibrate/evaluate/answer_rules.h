// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace kvcalib {

// What of a generated text is compared, and with what, as a public rule has it: configs/tasks/
// README.md describes them.  Texts are UTF-8; each byte that is no part of it counts as U+FFFD.
class AnswerRule {
 public:
  // Of kAnswerRules (task_header.h).  Throws std::invalid_argument for another.
  explicit AnswerRule(std::string_view name);

  std::string_view name() const;
  // What is compared.
  std::string extract(std::string_view generated) const;
  // Whether one of the answers is met.
  bool is_right(std::string_view generated, std::span<const std::string> answers) const;
  // Whether extract and is_right are the same for every text that begins so.  A character of which
  // the text's last tokens may be the beginning, which then is U+FFFD at its end, counts as
  // unknown.
  bool is_settled(std::string_view generated) const;

  struct Row;

 private:
  const Row* row_;
};

}  // namespace kvcalib
