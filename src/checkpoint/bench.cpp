// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/bench.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <unistd.h>

#include <fmt/format.h>

#include "base/clock.hpp"
#include "base/text.hpp"
#include "checkpoint/checkpoint.hpp"
#include "checkpoint/places.hpp"

namespace checkpoint {
namespace {

namespace fs = std::filesystem;
using base::Exit, base::UserError;

[[noreturn]] void fail(const fs::path &path) {
  throw UserError(Exit::checkpoint, "E201", path.string(), std::strerror(errno),
                  "The bench needs a folder with space for three copies (--directory).");
}

// A file of plain bytes, brought to the disk, and back.
void write_plain(const fs::path &path, const char *data, std::size_t bytes) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) fail(path);
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t n = ::write(file, data + done, bytes - done);
    if (n < 0 && errno != EINTR) ::close(file), fail(path);
    if (n > 0) done += static_cast<std::size_t>(n);
  }
  const bool synced = ::fsync(file) == 0;
  if (::close(file) != 0 || !synced) fail(path);
}

void read_plain(const fs::path &path, char *data, std::size_t bytes) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail(path);
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t n = ::read(file, data + done, bytes - done);
    if (n == 0 || (n < 0 && errno != EINTR)) ::close(file), fail(path);
    if (n > 0) done += static_cast<std::size_t>(n);
  }
  ::close(file);
}

struct Row {
  const char *name;
  std::function<void()> act;
  std::size_t against; // the row that is the limit
  double best = 1e300;
};

// Matrices of 4 MiB, as a model of middle size has them.
std::vector<Section> sections_of(char *data, std::size_t bytes) {
  Section weights;
  weights.name = "weights";
  constexpr std::size_t kTensor = std::size_t{1} << 22;
  for (std::size_t first = 0; first + kTensor <= bytes; first += kTensor)
    weights.items.push_back(Item{fmt::format("layers.{}.w", first / kTensor),
                                 {1024, kTensor / 4096},
                                 Type::f32,
                                 data + first});
  return {weights};
}

std::string table(const std::vector<Row> &rows, std::size_t bytes, const fs::path &directory) {
  std::string text =
      fmt::format("{} in {}, best of the repeats; files lie in the page cache when they are read\n",
                  base::text::bytes(static_cast<std::int64_t>(bytes)), directory.string());
  text += fmt::format("{:<44} {:>9} {:>9}  {}\n", "", "s", "GB/s", "of the limit");
  for (const Row &row : rows) {
    const Row &limit = rows[row.against];
    text += fmt::format("{:<44} {:>9.4f} {:>9.2f}  {}\n", row.name, row.best,
                        static_cast<double>(bytes) / row.best / 1e9,
                        &limit == &row ? std::string("(limit)")
                                       : fmt::format("{:.0f} %", 100 * limit.best / row.best));
  }
  return text;
}

} // namespace

std::string bench(const BenchOptions &options) {
  const std::size_t bytes = std::max<std::size_t>(1, static_cast<std::size_t>(options.bytes) >> 22)
                            << 22;
  const fs::path place = options.directory / fmt::format("hadal-bench-{}", ::getpid());
  struct Guard {
    const fs::path &place;
    ~Guard() {
      std::error_code error;
      fs::remove_all(place, error);
    }
  } guard{place};
  std::error_code error;
  fs::create_directories(place, error);
  if (error)
    throw UserError(Exit::checkpoint, "E201", place.string(), error.message(),
                    "Give a folder that can be written (--directory).");
  std::vector<char> data(bytes), copy(bytes);
  for (std::size_t i = 0; i < bytes; ++i)
    data[i] = static_cast<char>((i * 0x9e3779b97f4a7c15U) >> 56);
  const fs::path plain = place / "plain";
  auto sections = sections_of(data.data(), bytes), back = sections_of(copy.data(), bytes);
  std::string hash;
  std::int64_t step = 0;
  Writer writer({place / "checkpoints", 1, 0});
  std::vector<Row> rows = {
      {"copy in memory (the stall of the training)",
       [&] { std::memcpy(copy.data(), data.data(), bytes); }, 0},
      {"state hash", [&] { hash = state_hash(sections); }, 0},
      {"plain file: write, fsync", [&] { write_plain(plain, data.data(), bytes); }, 2},
      {"checkpoint: write, fsync, checksums, seal",
       [&] {
         Snapshot s;
         s.step = ++step, s.sections = sections, s.state_hash = hash;
         writer.start(std::move(s));
         writer.wait();
       },
       2},
      {"plain file: read", [&] { read_plain(plain, copy.data(), bytes); }, 4},
      {"checkpoint: verify, read",
       [&] {
         Reader::open(place / "checkpoints" / step_name(step)).read("weights", back[0].items);
       },
       4},
  };
  for (int i = 0; i < options.repeats; ++i)
    for (Row &row : rows) {
      const base::Stopwatch watch;
      row.act();
      row.best = std::min(row.best, watch.seconds());
    }
  HADAL_CHECK(std::memcmp(copy.data(), data.data(), bytes) == 0,
              "the bytes read are others than those written");
  return table(rows, bytes, options.directory);
}

} // namespace checkpoint
