// SPDX-License-Identifier: Apache-2.0
// print_answers QUESTIONS: of lines {"rule", "text", "answers"} of JSON, the text's bytes in
// hexadecimal, {"extracted", "right", "settled"} each, for comparison with Python's rules.
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "calibrate/evaluate/answer_rules.h"

namespace {

std::string bytes_of(const std::string& hexadecimal) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hexadecimal.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hexadecimal.substr(i, 2), nullptr, 16));
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: print_answers QUESTIONS\n";
    return 2;
  }
  try {
    std::ifstream questions(argv[1]);
    for (std::string line; std::getline(questions, line);) {
      const auto question = nlohmann::json::parse(line);
      const kvcalib::AnswerRule rule(question.at("rule").get<std::string>());
      const std::string text = bytes_of(question.at("text"));
      const std::vector<std::string> answers = question.at("answers");
      const nlohmann::json answer{{"extracted", rule.extract(text)},
                                  {"right", rule.is_right(text, answers)},
                                  {"settled", rule.is_settled(text)}};
      std::cout << answer.dump(-1, ' ', true) << "\n";
    }
    return 0;
  } catch (const std::exception& failure) {
    std::cerr << failure.what() << "\n";
    return 1;
  }
}
