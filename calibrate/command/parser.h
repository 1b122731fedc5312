// SPDX-License-Identifier: Apache-2.0
#pragma once

#define CXXOPTS_VECTOR_DELIMITER '\0'  // file names may hold commas
#include <charconv>
#include <cstdint>
#include <cxxopts.hpp>
#include <functional>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "sharding/files/error.h"

namespace kvcalib {

// --help was given: `text` is what to print.
struct HelpAsked {
  std::string text;
};

// What heads a command's help.
struct Heading {
  std::string_view name;
  std::string_view description;
  std::string_view usage;  // behind the name
};

// An option as its help lists it.
struct Option {
  std::string group;
  std::string name;        // without the dashes
  std::string help;        // what it does
  std::string value_name;  // DIR, N
};

// One command's parser.  An option is declared once, with the place that its value goes to: what is
// not given leaves that as it is.  Unknown options are refused with the nearest name.
class Parser {
 public:
  explicit Parser(const Heading& heading);

  void flag(const std::string& group, const std::string& name, const std::string& help,
            bool& destination);
  // A flag that stands for a value.
  template <typename Value>
  void flag(const std::string& group, const std::string& name, const std::string& help,
            Value& destination, const Value& value) {
    switches(group, name, help, [&destination, value](bool on) {
      if (on) destination = value;
    });
  }
  // A text, a path or either as an optional.
  template <typename Text>
  void value(const Option& option, Text& destination) {
    declare(option, cxxopts::value<std::string>());
    store(option.name, [&destination](const std::string& text) { destination = text; });
  }
  void values(const Option& option, std::vector<std::string>& destination);
  // A whole number of at least `least`, or an optional one.
  template <typename Number, typename Destination>
  void number(const Option& option, Number least, Destination& destination) {
    declare(option, cxxopts::value<std::string>());
    store(option.name, [this, name = option.name, least, &destination](const std::string& text) {
      destination = read_number(name, text, least);
    });
  }

  // Whole numbers of at least `least`, with commas between them.
  template <typename Number>
  void numbers(const Option& option, Number least, std::vector<Number>& destination) {
    declare(option, cxxopts::value<std::string>());
    store(option.name, [this, name = option.name, least, &destination](const std::string& text) {
      std::istringstream list(text + ",");
      destination.clear();
      for (std::string given; std::getline(list, given, ',');)
        destination.push_back(read_number(name, given, least));
    });
  }

  // A number of at least 0, in decimals or with an exponent.
  void decimal(const Option& option, std::optional<double>& destination);
  // Names, with commas between them; given twice it is refused.
  void list(const Option& option, std::vector<std::string>& destination);

  // That option must be given: "--weights DIR is missing"; `what`: where its place says what it is.
  void require(const std::string& name, const std::string& what = "");
  // What stands without an option's name goes to that one.
  void positional(const std::string& name);

  // Throws HelpAsked for --help; UsageError for what was not declared, is missing or is no such
  // value.
  void parse(const std::vector<std::string>& arguments);

  bool given(const std::string& name) const;
  // Throws UsageError for an option that was given beside `purpose`, itself an option, and is none
  // of `allowed`.
  void refuse_beside(const std::string& purpose, const std::vector<std::string>& allowed) const;

  // Throws UsageError naming `what` for another text than decimal() takes.
  double read_decimal(const std::string& what, const std::string& given) const;

  // Throws UsageError that points to the command's help.
  [[noreturn]] void fail(const std::string& what) const;

 private:
  using Store = std::function<void(const std::string& text)>;

  void switches(const std::string& group, const std::string& name, const std::string& help,
                std::function<void(bool on)> store);
  void declare(const Option& option, const std::shared_ptr<cxxopts::Value>& value);
  void store(const std::string& name, Store store);
  template <typename Number>
  Number read_number(const std::string& name, const std::string& given, Number least) const {
    Number number = 0;
    const auto [end, failure] = std::from_chars(given.data(), given.data() + given.size(), number);
    if (failure != std::errc{} || end != given.data() + given.size() || number < least)
      fail(concat("--", name, " '", given, "': expected a whole number of at least ", least));
    return number;
  }
  [[noreturn]] void refuse(const std::string& unknown) const;

  std::string command_;
  cxxopts::Options options_;
  cxxopts::ParseResult result_;
  std::vector<Option> declared_;
  std::vector<std::string> groups_;
  std::vector<std::function<void()>> checks_, stores_;  // in the order of their declarations
};

}  // namespace kvcalib
