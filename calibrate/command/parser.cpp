// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/parser.h"

#include <algorithm>

#include "calibrate/command/command_line.h"

namespace kvcalib {
namespace {

constexpr size_t kHelpWidth = 80;

// cxxopts leaves a space where it wraps a line.
std::string without_trailing_spaces(const std::string& text) {
  std::string trimmed;
  for (const char c : text) {
    if (c == '\n') trimmed.erase(trimmed.find_last_not_of(' ') + 1);
    trimmed += c;
  }
  return trimmed;
}

}  // namespace

Parser::Parser(const std::string& command, const std::string& description, const std::string& usage)
    : command_(command), options_("kvcalib " + command, description) {
  options_.custom_help(usage).positional_help("").set_width(kHelpWidth);
  options_.allow_unrecognised_options();
  flag("Other", "help", "print this and leave");
}

void Parser::flag(const std::string& group, const std::string& name, const std::string& text) {
  options_.add_options(group)(name, text);
  declare(group, name);
}

void Parser::value(const std::string& group, const std::string& name, const std::string& text,
                   const std::string& value_name) {
  options_.add_options(group)(name, text, cxxopts::value<std::string>(), value_name);
  declare(group, name);
}

void Parser::values(const std::string& group, const std::string& name, const std::string& text,
                    const std::string& value_name) {
  options_.add_options(group)(name, text, cxxopts::value<std::vector<std::string>>(), value_name);
  declare(group, name);
}

void Parser::positional(const std::string& name) {
  options_.parse_positional({name});
  options_.show_positional_help();  // else the option is left out of the help
}

void Parser::parse(const std::vector<std::string>& arguments) {
  std::vector<const char*> argv = {"kvcalib"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  try {
    result_ = options_.parse(static_cast<int>(argv.size()), argv.data());
  } catch (const cxxopts::exceptions::exception& failure) {
    fail(failure.what());
  }
  if (result_.count("help") > 0) {
    std::rotate(groups_.begin(), groups_.begin() + 1, groups_.end());  // Other comes last
    throw HelpAsked{without_trailing_spaces(options_.help(groups_))};
  }
  for (const std::string& unknown : result_.unmatched()) refuse(unknown);
}

std::string Parser::required(const std::string& name, const std::string& what) const {
  if (!has(name)) fail(concat(what, " is missing"));
  return text(name);
}

std::optional<int64_t> Parser::optional_number(const std::string& name, int64_t least) const {
  if (!has(name)) return std::nullopt;
  int64_t given = 0;
  number(name, least, given);
  return given;
}

void Parser::fail(const std::string& what) const {
  throw UsageError(concat(what, "; see kvcalib ", command_, " --help"));
}

void Parser::declare(const std::string& group, const std::string& name) {
  names_.push_back("--" + name);
  if (std::find(groups_.begin(), groups_.end(), group) == groups_.end()) groups_.push_back(group);
}

void Parser::refuse(const std::string& unknown) const {
  if (!unknown.starts_with("-")) fail(concat("unexpected argument '", unknown, "'"));
  const std::string name = unknown.substr(0, unknown.find('='));
  const std::optional<std::string> near = nearest(name, names_);
  fail(concat("unknown option ", name, near ? concat("; did you mean ", *near, "?") : ""));
}

}  // namespace kvcalib
