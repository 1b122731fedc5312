// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/commands.h"

#include <gtest/gtest.h>

#include "sharding/files/error.h"
#include "tests/message_of.h"

namespace kvcalib {
namespace {

TEST(Commands, AreFoundByTheirNames) {
  for (const Command& command : commands())
    EXPECT_EQ(&find_command(std::string(command.heading.name)), &command);
}

TEST(Commands, AreSuggestedForANameThatIsNone) {
  EXPECT_HOLDS("unknown command 'verifi'; did you mean verify?; see kvcalib --help",
               message_of([] { find_command("verifi"); }));
  EXPECT_HOLDS("unknown command 'nonsense'; see", message_of([] { find_command("nonsense"); }));
  EXPECT_THROW(find_command(""), UsageError);
}

TEST(Commands, AreAllInTheProgramsHelp) {
  const std::string help = program_help();
  for (const Command& command : commands())
    for (const std::string_view told :
         {command.heading.name, command.summary, command.heading.usage})
      EXPECT_NE(help.find(told), std::string::npos) << told;
}

}  // namespace
}  // namespace kvcalib
