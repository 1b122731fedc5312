// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/added_tokens.h"

#include <algorithm>

namespace kvcalib {
namespace {

// White space as str.strip of Python has it (Unicode's, and the separators U+001C to U+001F).
constexpr std::string_view kSpaces[] = {" ",      "\t",     "\n",     "\v",     "\f",     "\r",
                                        "\x1c",   "\x1d",   "\x1e",   "\x1f",   "\u0085", "\u00a0",
                                        "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004",
                                        "\u2005", "\u2006", "\u2007", "\u2008", "\u2009", "\u200a",
                                        "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"};

std::string without_space_before(std::string_view text) {
  const auto begins = [&](std::string_view space) { return text.starts_with(space); };
  for (;;) {
    const auto* const space = std::find_if(std::begin(kSpaces), std::end(kSpaces), begins);
    if (space == std::end(kSpaces)) return std::string(text);
    text.remove_prefix(space->size());
  }
}

std::string without_space_after(std::string_view text) {
  const auto ends = [&](std::string_view space) { return text.ends_with(space); };
  for (;;) {
    const auto* const space = std::find_if(std::begin(kSpaces), std::end(kSpaces), ends);
    if (space == std::end(kSpaces)) return std::string(text);
    text.remove_suffix(space->size());
  }
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.content.empty(); });
  std::stable_sort(tokens_.begin(), tokens_.end(), [](const auto& left, const auto& right) {
    return left.content.size() > right.content.size();
  });
  for (const AddedToken& token : tokens_)
    begins_[static_cast<unsigned char>(token.content.front())] = true;
}

bool AddedTokens::keep_bounds() const {
  return std::all_of(tokens_.begin(), tokens_.end(), [](const AddedToken& token) {
    return token.content.size() > 1 && !token.single_word;
  });
}

const AddedToken* AddedTokens::at(std::string_view rest) const {
  const auto found = std::find_if(tokens_.begin(), tokens_.end(), [&](const AddedToken& token) {
    return rest.starts_with(token.content);
  });
  return found == tokens_.end() ? nullptr : &*found;
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const AddedToken* const token = at(content);
  return token != nullptr && token->content == content ? token : nullptr;
}

std::vector<std::string> AddedTokens::cut(std::string_view text) const {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    const AddedToken* const token =
        begins_[static_cast<unsigned char>(text[i])] ? at(text.substr(i)) : nullptr;
    if (token == nullptr) {
      ++i;
      continue;
    }
    if (begin < i) parts.emplace_back(text.substr(begin, i - begin));
    parts.push_back(token->content);
    begin = i += token->content.size();
  }
  if (begin < text.size()) parts.emplace_back(text.substr(begin));
  return parts;
}

std::vector<AddedTokens::Part> AddedTokens::split(std::string_view text) const {
  std::vector<std::string> parts = cut(text);
  for (size_t i = 0; i < parts.size(); ++i) {
    const AddedToken* const token = find(parts[i]);
    if (token == nullptr) continue;
    const std::string before = i > 0 ? parts[i - 1] : std::string();
    const std::string behind = i + 1 < parts.size() ? parts[i + 1] : std::string();
    if (token->takes_space_after && !behind.empty()) parts[i + 1] = without_space_before(behind);
    if (token->takes_space_before && !before.empty()) parts[i - 1] = without_space_after(before);
    if (token->single_word && !before.empty() && before.back() != ' ') {
      parts[i - 1] += parts[i];
      parts[i].clear();
    } else if (token->single_word && !behind.empty() && behind.front() != ' ') {
      parts[i + 1].insert(0, parts[i]);
      parts[i].clear();
    }
  }
  std::vector<Part> found;
  for (std::string& part : parts) {
    if (part.empty()) continue;
    const AddedToken* const token = find(part);
    found.push_back({std::move(part), token});
  }
  return found;
}

}  // namespace kvcalib
