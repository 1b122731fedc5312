// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/answer_rules.h"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "calibrate/data/task_header.h"
#include "calibrate/evaluate/answer_numbers.h"
#include "calibrate/evaluate/unicode_classes.h"
#include "sharding/files/error.h"

namespace kvcalib {

// A rule; of answers one is looked at.
struct AnswerRule::Row {
  std::string_view name;
  std::u32string (*extract)(std::u32string_view generated);
  bool (*meets)(std::u32string_view extracted, std::u32string_view answer);
  bool (*is_settled)(std::u32string_view beginning);
};

namespace {

using Text = std::u32string_view;

constexpr Text kEndsOfAnswer = U"\n.,";
// Python's string.punctuation in brackets, where its backslash stands for the bracket behind it.
constexpr Text kEndsOfWord = U" \n!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~";
constexpr Text kPrefix = U"Answer: ";
constexpr Text kNextQuestion = U"Question:";
constexpr Text kEmptyLine = U"\n\n";

bool contains(Text text, Text part) { return text.find(part) != Text::npos; }
bool contains_any(Text text, Text points) { return text.find_first_of(points) != Text::npos; }
bool equals(Text one, Text other) { return one == other; }

Text before(Text text, Text mark) { return text.substr(0, text.find(mark)); }
Text before_any(Text text, Text points) { return text.substr(0, text.find_first_of(points)); }
Text first_line(Text text) { return before(text, U"\n"); }

bool is_article(Text word) {
  const std::u32string small = lower(word);
  return small == U"a" || small == U"an" || small == U"the";
}

// The words before the first line end, full stop or comma, without what is in them neither letter
// nor number, and without articles.
std::u32string words_of(Text text) {
  std::u32string words, word;
  const auto end_word = [&] {
    if (!word.empty() && !is_article(word)) words += (words.empty() ? U"" : U" ") + word;
    word.clear();
  };
  for (const char32_t point : before_any(text, kEndsOfAnswer)) {
    if (is_space(point))
      end_word();
    else if (is_word(point))
      word += point;
  }
  end_word();
  return words;
}

bool is_these_words(Text extracted, Text answer) { return extracted == words_of(answer); }
bool is_this_answer(Text extracted, Text answer) {
  return extracted == answer || is_these_words(extracted, answer);
}

bool has_ended(Text beginning) { return contains_any(beginning, kEndsOfAnswer); }

std::u32string without_prefixes(Text line) {
  std::u32string rest;
  for (size_t at; (at = line.find(kPrefix)) != Text::npos;) {
    rest += line.substr(0, at);
    line.remove_prefix(at + kPrefix.size());
  }
  return rest += line;
}

std::u32string words_of_line(Text line) { return words_of(without_prefixes(line)); }

std::u32string words_behind_prefix(Text text) { return words_of_line(first_line(stripped(text))); }

// The blank of a prefix that ends its line is part of it only where something follows on the next.
bool has_ended_behind_prefix(Text beginning) {
  const Text text = without_leading_spaces(beginning);
  const size_t end = text.find_first_of(kEndsOfAnswer);
  if (end == Text::npos) return false;
  if (text[end] != U'\n' || !stripped(text.substr(end)).empty()) return true;
  const Text line = text.substr(0, end);
  return words_of_line(line) == words_of_line(without_trailing_spaces(line));
}

std::u32string first_word(Text text) { return words_of(before_any(stripped(text), kEndsOfWord)); }

bool has_first_word(Text beginning) {
  return contains_any(without_leading_spaces(beginning), kEndsOfWord);
}

std::u32string lower_first_line(Text text) { return lower(first_line(text)); }
bool holds_words(Text extracted, Text answer) {
  return contains(extracted, lower(words_of(answer)));
}
bool has_first_line(Text beginning) { return contains(beginning, U"\n"); }

std::u32string digits_before_empty_line(Text text) {
  return digits_of_last_number_word(before(text, kEmptyLine));
}
bool has_empty_line(Text beginning) { return contains(beginning, kEmptyLine); }

std::u32string number_before_next_question(Text text) {
  return last_number(before(text, kNextQuestion));
}
bool has_next_question(Text beginning) { return contains(beginning, kNextQuestion); }

constexpr std::array kRows{
    AnswerRule::Row{"contains", lower_first_line, holds_words, has_first_line},
    AnswerRule::Row{"em", words_of, is_this_answer, has_ended},
    AnswerRule::Row{"em-record", words_behind_prefix, is_this_answer, has_ended_behind_prefix},
    AnswerRule::Row{"first-word", first_word, is_these_words, has_first_word},
    AnswerRule::Row{"gsm8k-2023", digits_before_empty_line, equals, has_empty_line},
    AnswerRule::Row{"gsm8k-2024", number_before_next_question, is_same_number, has_next_question},
};
static_assert(std::ranges::equal(kRows, kAnswerRules, {}, &AnswerRule::Row::name));

}  // namespace

AnswerRule::AnswerRule(std::string_view name)
    : row_(std::ranges::find(kRows, name, &AnswerRule::Row::name)) {
  if (row_ == kRows.end()) throw std::invalid_argument(concat("no answer rule '", name, "'"));
}

std::string_view AnswerRule::name() const { return row_->name; }

std::string AnswerRule::extract(std::string_view generated) const {
  return utf8_of(row_->extract(code_points(generated)));
}

bool AnswerRule::is_right(std::string_view generated, std::span<const std::string> answers) const {
  const std::u32string extracted = row_->extract(code_points(generated));
  return std::ranges::any_of(answers, [&](const std::string& answer) {
    return row_->meets(extracted, code_points(answer));
  });
}

bool AnswerRule::is_settled(std::string_view generated) const {
  std::u32string beginning = code_points(generated);
  beginning.erase(beginning.find_last_not_of(U'\uFFFD') + 1);
  return row_->is_settled(beginning);
}

}  // namespace kvcalib
