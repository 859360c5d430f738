// SPDX-License-Identifier: Apache-2.0
// A small program of several ranks for the tests of faults. It writes its process numbers into a folder, passes messages
// round the ring, and ends as the program does: errors are logged, the run is aborted with their exit code.
//   parallel_victim MODE FOLDER DEADLINE ROUNDS
// MODE: ring | never (the last rank sends nothing) | busy (the last rank computes without an end) | throws (rank 1 fails)
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include <unistd.h>

#include "base/log.hpp"
#include "comm/session.hpp"

namespace {

void ring(comm::Communicator &c, const std::string &mode, const std::string &folder, long rounds) {
  const bool last = c.rank() == c.size() - 1;
  base::log::open_file(folder + "/log" +
                       std::to_string(c.rank())); // a launcher that ends may lose output
  std::ofstream(folder + "/pid" + std::to_string(c.rank())) << getpid() << std::flush;
  std::ofstream(folder + "/ready" + std::to_string(c.rank()));
  for (long round = 0; round < rounds; ++round) {
    if (round == 5 && mode == "throws" && c.rank() == 1)
      throw base::UserError(base::Exit::data, "E112", "a file", "it is broken", "mend it");
    while (round == 5 && last && (mode == "never" || mode == "busy"))
      if (mode == "never") pause();
    long out = round + c.rank(), in = 0;
    comm::Request requests[] = {
        c.irecv((c.rank() + c.size() - 1) % c.size(), 1, &in, sizeof in, {"ring", round}),
        c.isend((c.rank() + 1) % c.size(), 1, &out, sizeof out, {"ring", round})};
    comm::wait_all(requests);
    HADAL_CHECK(in == round + (c.rank() + c.size() - 1) % c.size(), "{} in round {}", in, round);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  base::log::info("rank {} done", c.rank());
}

} // namespace

int main(int, char **arguments) {
  int code = 1;
  try {
    comm::Session session(comm::Options{std::atof(arguments[3])});
    ring(session.world(), arguments[1], arguments[2], std::atol(arguments[4]));
    session.finish();
    return 0;
  } catch (const base::UserError &error) {
    base::log::error("{}", error.what());
    code = static_cast<int>(error.code());
  } catch (const std::exception &error) {
    base::log::error("{}", error.what());
  }
  comm::abort_all(code);
}
