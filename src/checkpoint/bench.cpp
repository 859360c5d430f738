// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/bench.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <memory>
#include <unistd.h>

#include <fmt/format.h>

#include "base/clock.hpp"
#include "base/text.hpp"
#include "checkpoint/block_hashes.hpp"
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

constexpr std::size_t kPiece = std::size_t{1} << 22;

// Matrices of 4 MiB, as a model of middle size has them; of many writers each has a piece of every matrix. data null: the whole.
std::vector<Section> sections_of(const Company &c, char *data, std::size_t bytes) {
  Section weights;
  weights.name = "weights";
  const std::int64_t rows = 1024 * c.writers, elements = kPiece / sizeof(float);
  for (std::size_t first = 0; first + kPiece <= bytes; first += kPiece) {
    Item item{fmt::format("layers.{}.w", first / kPiece),
              {rows, elements / 1024},
              Type::f32,
              data ? data + first : nullptr};
    if (data && c.writers > 1) item.first = c.writer * elements, item.count = elements;
    weights.items.push_back(std::move(item));
  }
  return {weights};
}

std::string table(const std::vector<Row> &rows, std::size_t bytes, const BenchOptions &o) {
  const int writers = o.company.writers;
  std::string text = fmt::format(
      "{} in {}{}, best of {}; files lie in the page cache when they are read\n",
      base::text::bytes(static_cast<std::int64_t>(bytes)), o.directory.parent_path().string(),
      writers > 1 ? fmt::format(", {} writers", writers) : "", o.repeats);
  text += fmt::format("{:<56} {:>9} {:>9}  {}\n", "", "s", "GB/s", "of the limit");
  for (const Row &row : rows) {
    const Row &limit = rows[row.against];
    text += fmt::format("{:<56} {:>9.4f} {:>9.2f}  {}\n", row.name, row.best,
                        static_cast<double>(bytes) / row.best / 1e9,
                        &limit == &row ? std::string("(limit)")
                                       : fmt::format("{:.0f} %", 100 * limit.best / row.best));
  }
  return text;
}

// The folder of the bench, for as long as anybody needs it.
class Place {
public:
  Place(const fs::path &path, const Company &company) : path_(path), company_(company) {
    std::error_code error;
    fs::create_directories(path_, error);
    if (error)
      throw UserError(Exit::checkpoint, "E201", path_.string(), error.message(),
                      "Give a folder that can be written (--directory).");
    company_.meet();
  }
  ~Place() {
    std::error_code error;
    if (company_.writer == 0) fs::remove_all(path_, error);
  }
  Place(const Place &) = delete;

private:
  const fs::path &path_;
  const Company &company_;
};

// What is copied, to where, and how.
struct Bench {
  const BenchOptions &o;
  const Company &c = o.company;
  std::size_t bytes; // of this writer
  std::vector<char> data = std::vector<char>(bytes), copy = std::vector<char>(bytes);
  std::vector<Section> sections = sections_of(c, data.data(), bytes),
                       back = sections_of(c, copy.data(), bytes);
  fs::path plain = o.directory / fmt::format("plain-{}", c.writer),
           checkpoints = o.directory / "checkpoints";
  std::string hash = {};
  std::int64_t step = 0;

  std::vector<Row> rows(Writer &writer);
  void write(Writer &writer);
  void read();
};

void Bench::write(Writer &writer) {
  Snapshot s;
  s.step = ++step, s.sections = sections;
  if (c.writers == 1) {
    s.state_hash = hash;
  } else {
    s.whole = sections_of(c, nullptr, bytes);
    s.attempt = fmt::format("bench-{}", step);
  }
  writer.start(std::move(s));
  writer.wait();
}

void Bench::read() {
  const fs::path at = checkpoints / step_name(step);
  const Reader reader = c.writers == 1 ? Reader::open(at) : Reader::open_verified(at);
  reader.read("weights", back[0].items);
}

std::vector<Row> Bench::rows(Writer &writer) {
  const bool many = c.writers > 1;
  return {
      {"copy in memory (the stall of the training)",
       [this] { std::memcpy(copy.data(), data.data(), bytes); }, 0},
      {"state hash",
       [this, many] { hash = many ? BlockHashes::of(sections) : state_hash(sections); }, 0},
      {many ? "plain files, one for each: write, fsync" : "plain file: write, fsync",
       [this] { write_plain(plain, data.data(), bytes); }, 2},
      {many ? "checkpoint of all: write, fsync, hash, checksums, seal"
            : "checkpoint: write, fsync, checksums, seal",
       [this, &writer] { write(writer); }, 2},
      {many ? "plain files: read" : "plain file: read",
       [this] { read_plain(plain, copy.data(), bytes); }, 4},
      {many ? "checkpoint of all: verify, read one's own" : "checkpoint: verify, read",
       [this] { read(); }, 4},
  };
}

} // namespace

std::string bench(const BenchOptions &options) {
  const Company &c = options.company;
  const std::size_t pieces = std::max<std::size_t>(
      1, static_cast<std::size_t>(options.bytes) / kPiece / static_cast<std::size_t>(c.writers));
  const Place place(options.directory, c);
  Bench b{.o = options, .bytes = pieces * kPiece};
  for (std::size_t i = 0; i < b.bytes; ++i)
    b.data[i] = static_cast<char>(
        ((i + static_cast<std::size_t>(c.writer) * b.bytes) * 0x9e3779b97f4a7c15U) >> 56);
  std::unique_ptr<Writer> writer;
  const auto make = [&] {
    WriterOptions w{b.checkpoints, 1, 0};
    w.writer = c.writer, w.writers = c.writers;
    writer = std::make_unique<Writer>(w);
  };
  if (c.writer == 0) make(); // before the others, as the trainer does
  c.meet();
  if (!writer) make();
  std::vector<Row> rows = b.rows(*writer);
  for (int i = 0; i < options.repeats; ++i)
    for (Row &row : rows) {
      c.meet();
      const base::Stopwatch watch;
      row.act();
      row.best = std::min(row.best, c.largest(watch.seconds()));
    }
  HADAL_CHECK(b.copy == b.data, "the bytes read are others than those written");
  c.meet();
  return table(rows, b.bytes * static_cast<std::size_t>(c.writers), options);
}

} // namespace checkpoint
