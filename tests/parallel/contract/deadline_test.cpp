// SPDX-License-Identifier: Apache-2.0
// A wait ends in time, and says for whom and for what it waited.
#include <thread>

#include "tests/parallel/contract/bodies.hpp"

namespace {

using namespace contract;
using comm::Communicator;

bool holds(const std::string &text, const std::string &part) {
  return text.find(part) != std::string::npos;
}

template <class F> comm::Overdue overdue(const F &f) {
  try {
    f();
  } catch (const comm::Overdue &error) {
    return error;
  }
  ADD_FAILURE() << "the wait was not overdue";
  return {base::Exit::fault, "", "", "", ""};
}

double seconds(const std::function<void()> &f) {
  const auto begin = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

TEST(Deadline, NamesThePeerThatNeverSends) {
  on_all_bodies([](Communicator &c) {
    if (c.size() == 1) return;
    const int silent = c.size() - 1;
    c.barrier();
    comm::Options options{0.4};
    if (c.rank() != silent) {
      c.terms().set_options(options);
      double waited = 0;
      std::vector<char> in(5000);
      const auto error = overdue([&] {
        waited = seconds([&] {
          EXPECT_THROW(c.recv(silent, 77, in.data(), in.size(), {"activations of stage 2", 12}),
                       comm::Overdue);
        });
        c.recv(silent, 77, in.data(), in.size(), {"activations of stage 2", 12});
      });
      EXPECT_GT(waited, 0.39);
      EXPECT_LT(waited, 1.4);
      EXPECT_EQ(error.code(), base::Exit::machine);
      EXPECT_EQ(error.number(), "E078");
      const std::string text = error.what();
      for (const std::string &part :
           {std::string("rank ") + std::to_string(c.rank()) + " of axis world",
            std::string("receive from rank ") + std::to_string(silent), std::string("tag 77"),
            std::string("activations of stage 2, micro-batch 12"),
            std::string("5000 of 5000 bytes outstanding"), std::string("waited 0.4 s")})
        EXPECT_TRUE(holds(text, part)) << part << "\n" << text;
      c.terms().set_options({60});
    }
    c.barrier();
  });
}

// A long message that nobody receives: the sender's wait has a deadline too.
TEST(Deadline, NamesThePeerThatNeverReceives) {
  on_all_bodies([](Communicator &c) {
    if (c.size() == 1) return;
    c.barrier();
    if (c.rank() == 0) {
      comm::Options options{0.3};
      c.terms().set_options(options);
      std::vector<char> out(std::size_t(8) << 20);
      const auto error =
          overdue([&] { c.send(1, 70, out.data(), out.size(), {"a long message"}); });
      EXPECT_TRUE(holds(error.what(), "send to rank 1 of axis world")) << error.what();
      c.terms().set_options({60});
    }
    if (!session().parallel()) c.barrier();
  });
}

TEST(Deadline, ManyMessagesAreToldInFewLines) {
  if (session().parallel()) GTEST_SKIP(); // of threads
  comm::loopback::run(8, {0.2}, [](Communicator &c) {
    if (c.rank() != 0) return;
    char in[8] = {};
    std::vector<comm::Request> requests;
    for (int r = 1; r < 8; ++r) requests.push_back(c.irecv(r, r, in + r, 1, {"dispatch", 3}));
    const auto error = overdue([&] { comm::wait_all(requests); });
    EXPECT_TRUE(holds(error.what(), "receive from rank 4")) << error.what();
    EXPECT_TRUE(holds(error.what(), "and 3 more messages")) << error.what();
    EXPECT_FALSE(holds(error.what(), "receive from rank 5")) << error.what();
  });
}

TEST(Deadline, AMessageThatIsLateIsNoFault) {
  if (session().parallel()) GTEST_SKIP(); // of threads
  comm::loopback::run(2, {5}, [](Communicator &c) {
    int value = 0;
    if (c.rank() == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      value = 9;
      c.send(1, 0, &value, sizeof value, {"late"});
    } else {
      c.recv(0, 0, &value, sizeof value, {"late"});
      EXPECT_EQ(value, 9);
    }
  });
}

TEST(Stop, EndsAWaitWithinASecond) {
  if (session().parallel()) GTEST_SKIP(); // of threads
  comm::loopback::run(2, {60}, [](Communicator &c) {
    if (c.rank() == 1) return; // never sends
    std::atomic<bool> stop{false};
    c.terms().stop_when([&] { return stop.load(); });
    std::thread later([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      stop = true;
    });
    char in = 0;
    const double waited = seconds([&] {
      const auto error = overdue([&] { c.recv(1, 4, &in, 1, {"combine", 2}); });
      EXPECT_EQ(error.number(), "E079");
      EXPECT_EQ(error.code(), base::Exit::machine);
      EXPECT_TRUE(holds(error.what(), "combine, micro-batch 2")) << error.what();
    });
    later.join();
    c.terms().stop_when({});
    EXPECT_GT(waited, 0.2);
    EXPECT_LT(waited, 1.8);
  });
}

// Who is asked to stop and finds its messages goes on: a stop in good order needs the others.
TEST(Stop, DoesNotDisturbMessagesThatCome) {
  if (session().parallel()) GTEST_SKIP(); // of threads
  comm::loopback::run(4, {60}, [](Communicator &c) {
    c.terms().stop_when([] { return true; });
    for (int i = 0; i < 20; ++i) c.barrier();
    c.terms().stop_when({});
  });
}

TEST(Threads, AnErrorOfOneRankEndsAll) {
  if (session().parallel()) GTEST_SKIP(); // of threads
  try {
    comm::loopback::run(3, {60}, [](Communicator &c) {
      if (c.rank() == 1) throw base::UserError(base::Exit::data, "E112", "here", "", "broken");
      c.barrier();
    });
    FAIL();
  } catch (const base::UserError &error) {
    EXPECT_EQ(error.number(), "E112"); // the cause, not the waits that it broke
  }
}

} // namespace
