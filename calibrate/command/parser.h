// SPDX-License-Identifier: Apache-2.0
#pragma once

#define CXXOPTS_VECTOR_DELIMITER '\0'  // file names may hold commas
#include <charconv>
#include <cstdint>
#include <cxxopts.hpp>
#include <optional>
#include <string>
#include <vector>

#include "sharding/files/error.h"

namespace kvcalib {

// One command's parser: declares options once, refuses unknown ones with the nearest name.
class Parser {
 public:
  Parser(const std::string& command, const std::string& description, const std::string& usage);

  void flag(const std::string& group, const std::string& name, const std::string& text);
  void value(const std::string& group, const std::string& name, const std::string& text,
             const std::string& value_name);
  void values(const std::string& group, const std::string& name, const std::string& text,
              const std::string& value_name);
  void positional(const std::string& name);

  // Throws HelpAsked for --help, UsageError for what was not declared.
  void parse(const std::vector<std::string>& arguments);

  bool has(const std::string& name) const { return result_.count(name) > 0; }
  bool is_set(const std::string& flag) const { return has(flag) && result_[flag].as<bool>(); }
  std::string text(const std::string& name) const { return result_[name].as<std::string>(); }
  std::vector<std::string> texts(const std::string& name) const {
    return result_[name].as<std::vector<std::string>>();
  }

  // These throw UsageError: `what` is missing; the value is no whole number of at least `least`.
  std::string required(const std::string& name, const std::string& what) const;
  template <typename Number>
  void number(const std::string& name, Number least, Number& out) const {
    if (!has(name)) return;
    const std::string given = text(name);
    const auto [end, failure] = std::from_chars(given.data(), given.data() + given.size(), out);
    if (failure != std::errc{} || end != given.data() + given.size() || out < least)
      fail(concat("--", name, " '", given, "': expected a whole number of at least ", least));
  }
  std::optional<int64_t> optional_number(const std::string& name, int64_t least) const;

  // Throws UsageError that points to the command's help.
  [[noreturn]] void fail(const std::string& what) const;

 private:
  void declare(const std::string& group, const std::string& name);
  [[noreturn]] void refuse(const std::string& unknown) const;

  std::string command_;
  cxxopts::Options options_;
  cxxopts::ParseResult result_;
  std::vector<std::string> names_;
  std::vector<std::string> groups_;
};

}  // namespace kvcalib
