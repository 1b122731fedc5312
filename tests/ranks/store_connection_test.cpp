// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/store_connection.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

// A port of this machine that is bound, and accepts what comes when it listens.
class Port {
 public:
  explicit Port(bool listens) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(socket_, generic, size), 0);
    EXPECT_EQ(getsockname(socket_, generic, &size), 0);
    EXPECT_EQ(listens ? listen(socket_, 8) : 0, 0);
    number_ = ntohs(address.sin_port);
  }
  ~Port() { close(socket_); }
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  MeetingPlace place() const { return {"", "127.0.0.1", number_, false}; }

 private:
  int socket_;
  uint16_t number_ = 0;
};

// What joining says that may take no time at all.
std::string refusal(const MeetingPlace& place) {
  return message_of([&] { connect_store(place, false, std::chrono::steady_clock::now()); });
}

TEST(ConnectStore, EndsAtItsDeadlineWhereNobodyListens) {
  const Port port(false);
  const std::string message = refusal(port.place());
  EXPECT_HOLDS(concat("MASTER_ADDR:MASTER_PORT 127.0.0.1:", port.place().port), message);
  EXPECT_HOLDS("Connection refused", message);
}

TEST(ConnectStore, EndsAtItsDeadlineWhereSomebodyAcceptsAndSaysNothing) {
  const Port port(true);
  EXPECT_HOLDS("what listens there does not answer as a rank 0 does", refusal(port.place()));
}

// "threadsafe": the child that ends has no threads of this process.
TEST(ConnectStore, LeftBehindAtItsDeadlineLosesNothingWhenTheProcessEnds) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Port port(true);
  const auto end_behind_it = [&] {
    std::atexit([] { std::_Exit(9); });  // as the destructor of a static that it uses
    refusal(port.place());
    std::exit(3);
  };
  EXPECT_EXIT(end_behind_it(), testing::ExitedWithCode(3), "");
}

TEST(ConnectStore, SaysThatAPortIsTaken) {
  const Port port(true);
  const auto later = std::chrono::steady_clock::now() + std::chrono::minutes(5);
  EXPECT_HOLDS("in use", message_of([&] { connect_store(port.place(), true, later); }));
}

}  // namespace
}  // namespace kvcalib
