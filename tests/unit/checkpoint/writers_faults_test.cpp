// SPDX-License-Identifier: Apache-2.0
// One of many writers fails, is killed, or does something else than the others: all learn it, nothing half-finished stays, the
// checkpoints before are whole.
#include <csignal>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "tests/unit/checkpoint/many.hpp"

namespace {

using namespace sample;
using Names = std::vector<std::string>;

const Cut kThree = {3, false, 1, 0};

class WritersFaults : public testing::Test {
protected:
  WritersFaults() { EXPECT_EQ(put_many(scratch_.path(), 1, kThree), all_well(3)); }
  Scratch scratch_;
  // The state before is all there is, and whole.
  void expect_as_before() {
    EXPECT_EQ(names(scratch_.path()), Names{"step-00000001"});
    EXPECT_EQ(Reader::newest(scratch_.path())->step(), 1);
  }
};

void expect_in(const std::string &text, const std::string &what) {
  EXPECT_NE(text.find(what), std::string::npos) << "\"" << text << "\" lacks \"" << what << "\"";
}

TEST_F(WritersFaults, OneWriterNeverComes) {
  for (const int absent : {2, 1, 0}) {
    const base::Stopwatch watch;
    const auto outcomes =
        put_many(scratch_.path(), 2, kThree, 1.5, [&](int w, Snapshot &) { return w != absent; });
    EXPECT_LT(watch.seconds(), 20);
    for (int w = 0; w < 3; ++w) {
      const auto &text = outcomes[static_cast<std::size_t>(w)];
      if (w == absent) {
        EXPECT_EQ(text, "");
        continue;
      }
      expect_in(text, "[E202]");
      expect_in(text, "no part came of writer " + std::to_string(absent) + " within 1.5 s");
    }
    if (absent == 0) Writer({scratch_.path(), 9, 0}); // the next run takes the remains away
    expect_as_before();
  }
}

TEST_F(WritersFaults, OneWriterFails) {
  for (const int failing : {0, 1, 2}) {
    const base::Stopwatch watch;
    const auto outcomes = put_many(scratch_.path(), 2, kThree, 300, [&](int w, Snapshot &s) {
      if (w != failing) return true;
      s.sections[1].items[0].data = nullptr;
      s.sections[1].items[0].produce = [](std::uint64_t, std::size_t, void *) {
        throw std::runtime_error("the tape is torn");
      };
      return true;
    });
    EXPECT_LT(watch.seconds(), 30) << "the others end at once, not at the deadline";
    for (int w = 0; w < 3; ++w) {
      const auto &text = outcomes[static_cast<std::size_t>(w)];
      expect_in(text, "the tape is torn");
      if (w != failing) expect_in(text, "writer " + std::to_string(failing) + " failed");
      if (w != failing) expect_in(text, "[E201]");
    }
    expect_as_before();
  }
  EXPECT_EQ(put_many(scratch_.path(), 2, kThree), all_well(3)); // and the next one succeeds
}

// One that is busy with its file while the others give up still learns why, and takes the last remains away.
TEST_F(WritersFaults, BusyWhileTheOthersGiveUp) {
  const auto outcomes = put_many(scratch_.path(), 2, kThree, 1, [&](int w, Snapshot &s) {
    if (w == 0) return true;
    s.sections[1].items[0].data = nullptr;
    s.sections[1].items[0].produce = [w](std::uint64_t, std::size_t bytes, void *to) {
      if (w == 1) throw std::runtime_error("the tape is torn");
      usleep(2'500'000);
      std::memset(to, 0, bytes);
    };
    return true;
  });
  expect_in(outcomes[0], "writer 1 failed");
  expect_in(outcomes[2], "writer 1 failed");
  expect_in(outcomes[2], "the tape is torn");
  expect_as_before();
}

// A limit on file sizes stands for a disk that fills up for all of them.
TEST_F(WritersFaults, LimitOnFileSizes) {
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  for (const rlim_t most : {rlim_t{0}, rlim_t{1000}, rlim_t{100000}}) {
    const rlimit limit = {most, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    const auto outcomes = put_many(scratch_.path(), 2, kThree, 60);
    setrlimit(RLIMIT_FSIZE, &before);
    for (const std::string &text : outcomes) expect_in(text, "[E201]");
    expect_as_before();
  }
}

// The disk has room for some of the files.
TEST_F(WritersFaults, FullDisk) {
  fs::create_directory(scratch_ / "disk");
  if (mount("tmpfs", (scratch_ / "disk").c_str(), "tmpfs", 0, "size=6m") != 0)
    GTEST_SKIP() << "no tmpfs can be mounted here";
  ASSERT_EQ(put_many(scratch_ / "disk", 1, kThree), all_well(3));
  write(scratch_ / "disk/ballast", std::string(std::size_t{1} << 20, 'x'));
  for (const std::string &text : put_many(scratch_ / "disk", 2, {2, true, 1, 0}, 60))
    expect_in(text, "[E201]");
  EXPECT_EQ(names(scratch_ / "disk"), (Names{"ballast", "step-00000001"}));
  EXPECT_EQ(Reader::newest(scratch_ / "disk")->step(), 1);
  EXPECT_EQ(umount((scratch_ / "disk").c_str()), 0) << "a file is still open";
}

// Everything that an earlier attempt could leave is there, and is not taken.
TEST_F(WritersFaults, RemainsOfAKilledAttempt) {
  State state;
  const std::string killed = "0123abcd";
  const pid_t child = fork();
  if (child == 0) { // writer 1 alone, of another state
    state.alone = 999;
    Writer writer({scratch_.path(), 9, 0, 1, 3, 60});
    writer.start(part_of(state, 2, kThree, 1, killed));
    while (!fs::exists(scratch_ / "step-00000002.0123abcd.partial/part-00001.json")) usleep(1000);
    kill(getpid(), SIGKILL);
  }
  waitpid(child, nullptr, 0);
  ASSERT_EQ(names(scratch_.path()), (Names{"step-00000001", "step-00000002.0123abcd.partial"}));
  EXPECT_EQ(Reader::newest(scratch_.path())->step(), 1);
  { // the name of the attempt again: a fault of the program, said by the writer that finds its own remains
    Writer writer({scratch_.path(), 9, 0, 1, 3, 0.2});
    writer.start(part_of(state, 2, kThree, 1, killed));
    EXPECT_THROW(writer.wait(), base::Fault);
  }
  const fs::path kept = scratch_ / "kept";
  fs::copy(scratch_ / "step-00000002.0123abcd.partial", kept);
  EXPECT_EQ(put_many(scratch_.path(), 2, kThree), all_well(3));
  EXPECT_EQ(names(scratch_.path()), (Names{"kept", "step-00000001", "step-00000002"}));
  for (const int writer : {0, 1}) { // and that of a finished one
    write(scratch_ / "step-00000002/attempt", "finished\n");
    Writer out({scratch_.path(), 9, 0, writer, 3, 0.2});
    out.start(part_of(state, 2, kThree, writer, "finished"));
    EXPECT_THROW(out.wait(), base::Fault);
  }
  EXPECT_EQ(names(scratch_.path()), (Names{"kept", "step-00000001", "step-00000002"}));
  EXPECT_EQ(read_back(scratch_ / "step-00000002", {1, true, 1, 0}, false),
            Reader::open(scratch_.path()).state_hash());
}

// A killed writer of two processes: the other one names it.
TEST_F(WritersFaults, KilledWhileWriting) {
  State state;
  const std::string attempt = checkpoint::new_attempt();
  const pid_t child = fork();
  if (child == 0) {
    Writer writer({scratch_.path(), 9, 0, 1, 2, 60});
    Snapshot s = part_of(state, 2, {2, false, 1, 0}, 1, attempt);
    s.sections[1].items[0].data = nullptr;
    s.sections[1].items[0].produce = [](std::uint64_t, std::size_t, void *) {
      kill(getpid(), SIGKILL);
    };
    writer.start(std::move(s));
    writer.wait();
    _exit(0);
  }
  Writer writer({scratch_.path(), 9, 0, 0, 2, 1});
  writer.start(part_of(state, 2, {2, false, 1, 0}, 0, attempt));
  std::string text;
  EXPECT_EQ(fault([&] { writer.wait(); }, &text), "E202");
  expect_in(text, "writer 1 within 1 s");
  waitpid(child, nullptr, 0);
  expect_as_before();
}

TEST_F(WritersFaults, HolesOverlapsAndDisagreementAreFaultsOfTheProgram) {
  const auto refuse = [&](const std::string &said, const Spoil &spoil) {
    const auto outcomes = put_many(scratch_.path(), 2, kThree, 60, spoil);
    for (const std::string &text : outcomes) expect_in(text, said);
    expect_as_before();
  };
  refuse("moments/layers.0.w: elements 200000 to 200001 are written by nobody",
         [](int, Snapshot &s) {
           Item &item = s.sections[1].items[0];
           if (item.first == 200000) item = piece(item, 200001, 199999);
           return true;
         });
  refuse("moments/layers.0.w: elements 599999 to 600000 are written by nobody",
         [](int, Snapshot &s) {
           Item &item = s.sections[1].items[0];
           if (item.first == 400000) item.count = 199999;
           return true;
         });
  refuse("moments/layers.0.w: elements from 200000 are written by writers", [](int, Snapshot &s) {
    Item &item = s.sections[1].items[0];
    if (item.first == 0) item.count = 200001;
    return true;
  });
  refuse("writers 0 and 2 of a checkpoint were given other tensors, values or hashes",
         [](int w, Snapshot &s) {
           if (w == 2) s.whole[2].scalars["mean"] = 0.2;
           return true;
         });
}

TEST(Writers, PiecesThatDoNotFitAreRefused) {
  Scratch scratch;
  State state;
  Writer writer({scratch.path(), 2, 0, 1, 3, 60});
  const auto refused = [&](const std::function<void(Snapshot &)> &change) {
    Snapshot s = part_of(state, 1, kThree, 1, "a");
    change(s);
    EXPECT_THROW(writer.start(s), base::Fault);
  };
  refused([](Snapshot &s) { s.attempt = ""; });
  refused([](Snapshot &s) { s.attempt = "../a"; });
  refused([](Snapshot &s) { s.whole.clear(); });
  refused([](Snapshot &s) { s.whole[1].items[0].shape = {1000, 600}; });
  refused([](Snapshot &s) { s.whole[1].items[0].type = Type::i32; });
  refused([](Snapshot &s) { s.whole[1].items[0].count = 5; });
  refused([](Snapshot &s) { s.sections[1].items[0].name = "other"; });
  refused([](Snapshot &s) { s.sections[1].items[0].count = 600001; });
  refused([](Snapshot &s) { s.sections[1].items[0].first = -1; });
  refused([](Snapshot &s) { s.sections[1].items.push_back(s.sections[1].items[0]); });
  Writer odd({scratch.path(), 2, 0, 3, 3, 60});
  EXPECT_THROW(odd.start(part_of(state, 1, kThree, 1, "a")), base::Fault);
  EXPECT_EQ(names(scratch.path()), Names{});
}

TEST_F(WritersFaults, DamagedOrMissingShard) {
  ASSERT_EQ(put_many(scratch_.path(), 2, kThree), all_well(3));
  const fs::path place = scratch_ / "step-00000002", shard = place / "state-00001.h5";
  const auto pieces = Reader::open(place).manifest()["sections"][1]["tensors"][0]["pieces"];
  std::size_t offset = 0;
  std::int64_t first = 0;
  for (const auto &p : pieces)
    if (p.at("file") == "state-00001.h5")
      offset = p.at("offset").get<std::size_t>(), first = p.at("first").get<std::int64_t>();
  State state;
  const Item moments = state.sections()[1].items[0];
  std::string text;
  const auto read = [&](std::int64_t begin, std::int64_t count) {
    return fault([&] { Reader::open(place).read("moments", {piece(moments, begin, count)}); },
                 &text);
  };
  const auto before = [&] { // the one before is used
    EXPECT_EQ(Reader::newest(scratch_.path())->step(), 1);
    EXPECT_EQ(names(scratch_.path()), (Names{"step-00000001", "step-00000002"}));
  };
  flip(shard, offset + 700'000);
  EXPECT_EQ(Reader::open(place).verify(),
            "state-00001.h5 does not match its checksum: moments/layers.0.w was changed");
  EXPECT_EQ(read(0, 600000), "E211");
  expect_in(text, "state-00001.h5: moments/layers.0.w, elements " + std::to_string(first));
  EXPECT_EQ(read(first, 1), "E211");                      // the byte lies elsewhere in the piece
  EXPECT_EQ(read((first + 200000) % 600000, 200000), ""); // pieces that lie elsewhere
  EXPECT_EQ(fault([&] { Reader::open(place).require("moments", {piece(moments, first, 1)}); }),
            "E211");
  EXPECT_EQ(
      fault([&] { Reader::open_verified(place).read("moments", {piece(moments, first, 200000)}); }),
      "E211");
  before();
  flip(shard, offset + 700'000);
  EXPECT_EQ(Reader::newest(scratch_.path())->step(), 2);
  fs::resize_file(shard, fs::file_size(shard) - 1);
  expect_in(Reader::open(place).verify(), "state-00001.h5 has");
  before();
  fs::resize_file(shard, offset + 100);
  EXPECT_EQ(read(first, 1000), "E211");
  expect_in(text, "ends too early");
  fs::remove(shard);
  expect_in(Reader::open(place).verify(), "state-00001.h5: No such file");
  EXPECT_EQ(read(first, 1), "E211");
  expect_in(text, "state-00001.h5");
  before();
}

TEST_F(WritersFaults, SealedButNotOurs) {
  using J = nlohmann::json;
  const fs::path place = scratch_ / "step-00000001";
  const std::string good = read(place / "manifest.json");
  const std::function<void(J &)> changes[] = {
      [](J &p) { p.erase(1); },
      [](J &p) { p.erase(0); },
      [](J &p) { p.erase(2); },
      [](J &p) { p.push_back(p[2]); },
      [](J &p) { std::swap(p[0], p[1]); },
      [](J &p) { p[1]["first"] = 199999; },
      [](J &p) { p[1]["count"] = 200001; },
      [](J &p) { p[2]["count"] = 0; },
      [](J &p) { p[2]["count"] = -1; },
      [](J &p) { p[2]["count"] = 1LL << 62; },
      [](J &p) { p[0]["file"] = "state-00009.h5"; },
      [](J &p) { p[0]["file"] = "../state-00000.h5"; },
      [](J &p) { p[0]["file"] = "tokenizer.json"; },
      [](J &p) { p[0]["offset"] = 1LL << 40; },
      [](J &p) { p = 3; },
      [](J &p) { p = J::array(); },
  };
  int number = 0;
  for (const auto &change : changes) {
    write(place / "manifest.json", good);
    forge(place, [&](J &m) { change(m["sections"][1]["tensors"][0]["pieces"]); });
    EXPECT_EQ(fault([&] { Reader::open(place); }), "E211") << "change " << number;
    ++number;
  }
  write(place / "manifest.json", good);
  forge(place, [](J &m) { m["format_version"] = 1; });
  EXPECT_EQ(fault([&] { Reader::open(place); }), "E211");
}

} // namespace
