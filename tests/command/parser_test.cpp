// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/parser.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

constexpr Heading kHeading{"cook", "Make a meal.", "--pot DIR"};

// A command with an option of each kind.
struct Meal {
  std::filesystem::path pot = "none";
  std::optional<std::string> salt;
  std::vector<std::string> parts;
  int64_t plates = 4;
  std::optional<uint64_t> minutes;
  bool hot = false;
  std::string course = "main";

  explicit Meal(const std::vector<std::string>& arguments) {
    Parser parser(kHeading);
    parser.value({"Kitchen", "pot", "what it is cooked in", "DIR"}, pot);
    parser.require("pot");
    parser.value({"Kitchen", "salt", "which", "KIND"}, salt);
    parser.values({"Food", "parts", "what goes in", "FOOD..."}, parts);
    parser.positional("parts");
    parser.number<int64_t>({"Food", "plates", "how many", "N"}, 1, plates);
    parser.number<uint64_t>({"Food", "minutes", "how long", "N"}, 0, minutes);
    parser.flag("Food", "hot", "not cold", hot);
    parser.flag("Food", "sweet", "for dessert", course, std::string("dessert"));
    parser.parse(arguments);
  }
};

TEST(Parser, PutsEachValueWhereItsOptionSays) {
  const Meal meal({"--pot", "p", "--salt=sea", "--plates", "2", "--minutes", "0", "--hot",
                   "--parts", "rice, red", "beans"});
  EXPECT_EQ(meal.pot, "p");
  EXPECT_EQ(meal.salt, "sea");
  EXPECT_EQ(meal.parts, (std::vector<std::string>{"rice, red", "beans"}));
  EXPECT_EQ(meal.plates, 2);
  EXPECT_EQ(meal.minutes, 0U);
  EXPECT_TRUE(meal.hot);
}

TEST(Parser, PutsTheValueThatAFlagStandsFor) {
  EXPECT_EQ(Meal({"--pot", "p"}).course, "main");
  EXPECT_EQ(Meal({"--pot", "p", "--sweet"}).course, "dessert");
  EXPECT_EQ(Meal({"--pot", "p", "--sweet=false"}).course, "main");
}

TEST(Parser, LeavesWhatIsNotGivenAsItWas) {
  const Meal meal({"--pot", "p"});
  EXPECT_EQ(meal.plates, 4);
  EXPECT_FALSE(meal.salt || meal.minutes || meal.hot);
  EXPECT_TRUE(meal.parts.empty());
  EXPECT_FALSE(Meal({"--pot", "p", "--hot=false"}).hot);
}

TEST(Parser, RefusesWhatIsMissingUnknownOrNoSuchNumber) {
  EXPECT_EQ(message_of([] { Meal({"--hot"}); }), "--pot DIR is missing; see kvcalib cook --help");
  EXPECT_HOLDS("unknown option --plate; did you mean --plates?", message_of([] {
                 Meal({"--pot", "p", "--plate=3"});
               }));
  for (const char* wrong : {"0", "-1", "1.5", "two", "", "99999999999999999999"})
    EXPECT_EQ(message_of([&] {
                Meal({"--pot", "p", concat("--plates=", wrong)});
              }),
              concat("--plates '", wrong,
                     "': expected a whole number of at least 1; see kvcalib cook --help"));
}

TEST(Parser, TellsItsOptionsInGroupsWithItsOwnLast) {
  try {
    const Meal meal({"--help"});
    FAIL() << "help was not asked for";
  } catch (const HelpAsked& help) {
    size_t before = 0;
    for (const char* part :
         {"Make a meal.", "kvcalib cook --pot DIR", "Kitchen options:", "--pot DIR", "--salt KIND",
          "Food options:", "--parts FOOD...", "--plates N", "--hot", "Other options:", "--help"}) {
      const size_t at = help.text.find(part, before);
      ASSERT_NE(at, std::string::npos) << part << "\n" << help.text;
      before = at;
    }
  }
}

}  // namespace
}  // namespace kvcalib
