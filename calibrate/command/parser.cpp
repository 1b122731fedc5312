// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/parser.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "calibrate/command/nearest.h"

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

Parser::Parser(const Heading& heading)
    : command_(heading.name), options_("kvcalib " + command_, std::string(heading.description)) {
  options_.custom_help(std::string(heading.usage)).positional_help("").set_width(kHelpWidth);
  options_.allow_unrecognised_options();
  declare({"Other", "help", "print this and leave", ""}, cxxopts::value<bool>());
}

void Parser::flag(const std::string& group, const std::string& name, const std::string& help,
                  bool& destination) {
  switches(group, name, help, [&destination](bool on) { destination = on; });
}

void Parser::values(const Option& option, std::vector<std::string>& destination) {
  declare(option, cxxopts::value<std::vector<std::string>>());
  stores_.emplace_back([this, name = option.name, &destination] {
    if (result_.count(name) > 0) destination = result_[name].as<std::vector<std::string>>();
  });
}

void Parser::decimal(const Option& option, std::optional<double>& destination) {
  declare(option, cxxopts::value<std::string>());
  store(option.name, [this, name = option.name, &destination](const std::string& text) {
    destination = read_decimal(concat("--", name), text);
  });
}

double Parser::read_decimal(const std::string& what, const std::string& given) const {
  double number = 0;
  const auto [end, failure] = std::from_chars(given.data(), given.data() + given.size(), number);
  if (failure != std::errc{} || end != given.data() + given.size() || !std::isfinite(number) ||
      number < 0)
    fail(concat(what, " '", given, "': expected a number of at least 0"));
  return number;
}

void Parser::list(const Option& option, std::vector<std::string>& destination) {
  declare(option, cxxopts::value<std::string>());
  store(option.name, [this, name = option.name, &destination](const std::string& text) {
    if (result_.count(name) > 1)
      fail(concat("--", name, " is given twice; name all in one, with commas between"));
    std::istringstream names(text);
    destination.clear();
    for (std::string one; std::getline(names, one, ',');) destination.push_back(one);
  });
}

void Parser::require(const std::string& name, const std::string& what) {
  const auto option =
      std::find_if(declared_.begin(), declared_.end(),
                   [&name](const Option& declared) { return declared.name == name; });
  std::string missing = what.empty() ? concat("--", name, " ", option->value_name) : what;
  checks_.emplace_back([this, name, missing = std::move(missing)] {
    if (result_.count(name) == 0) fail(missing + " is missing");
  });
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
  for (const auto& check : checks_) check();
  for (const auto& store : stores_) store();
}

bool Parser::given(const std::string& name) const { return result_.count(name) > 0; }

void Parser::refuse_beside(const std::string& purpose,
                           const std::vector<std::string>& allowed) const {
  for (const Option& option : declared_)
    if (option.name != purpose && given(option.name) &&
        std::find(allowed.begin(), allowed.end(), option.name) == allowed.end())
      fail(
          concat("--", option.name, " has no part in --", purpose, ": give one without the other"));
}

void Parser::fail(const std::string& what) const {
  throw UsageError(concat(what, "; see kvcalib ", command_, " --help"));
}

void Parser::switches(const std::string& group, const std::string& name, const std::string& help,
                      std::function<void(bool on)> store) {
  declare({group, name, help, ""}, cxxopts::value<bool>());
  stores_.emplace_back([this, name, store = std::move(store)] {
    if (result_.count(name) > 0) store(result_[name].as<bool>());
  });
}

void Parser::declare(const Option& option, const std::shared_ptr<cxxopts::Value>& value) {
  options_.add_options(option.group)(option.name, option.help, value, option.value_name);
  declared_.push_back(option);
  if (std::find(groups_.begin(), groups_.end(), option.group) == groups_.end())
    groups_.push_back(option.group);
}

void Parser::store(const std::string& name, Store store) {
  stores_.emplace_back([this, name, store = std::move(store)] {
    if (result_.count(name) > 0) store(result_[name].as<std::string>());
  });
}

void Parser::refuse(const std::string& unknown) const {
  if (!unknown.starts_with("-")) fail(concat("unexpected argument '", unknown, "'"));
  const std::string name = unknown.substr(0, unknown.find('='));
  std::vector<std::string> names;
  for (const Option& option : declared_) names.push_back("--" + option.name);
  fail(concat("unknown option ", name, suggestion(name, names)));
}

}  // namespace kvcalib
