// SPDX-License-Identifier: Apache-2.0
#pragma once
// Checkpoints: a directory per step ("step-00001200") with state.h5 (HDF5, global tensors, no rank in any name; of many writers a file
// each), manifest.json (format version, resolved deck, source revision, sections, shapes, checksums) and DONE, written last after
// fsync. docs/checkpoint.md is the format. Owners register sections; this room knows neither model nor optimiser nor MPI.
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/hash.hpp"

namespace checkpoint {

// The newest version that is read. Version 1 (one file of whole tensors) is written wherever it is enough.
inline constexpr int kFormatVersion = 2;

enum class Type { f32, bf16, f64, i64, i32, u8 };
std::size_t bytes_of(Type type);
const char *name_of(Type type); // "bf16"
std::optional<Type> type_named(const std::string &name);

// A global tensor in host memory, or a piece of one, packed row-major. The memory belongs to the caller.
struct Item {
  std::string name;                // "layers.3.mla.w_uq"
  std::vector<std::int64_t> shape; // of the global tensor; empty: a scalar
  Type type = Type::f32;
  void *data = nullptr;
  // In place of data, for tensors that no memory holds whole: gives bytes [first, first + bytes) of the item. Called by the writer's
  // thread, item by item in the order of the sections and front to back. What it throws ends the writing.
  std::function<void(std::uint64_t first, std::size_t bytes, void *to)> produce = {};
  // The piece: elements [first, first + count) of the flat tensor; count -1: to its end. A section may hold several pieces of a tensor.
  std::int64_t first = 0, count = -1;
  std::size_t tensor_size() const; // elements of the global tensor
  std::size_t size() const;        // elements of the piece
  bool whole() const { return size() == tensor_size(); }
  std::size_t tensor_bytes() const { return tensor_size() * bytes_of(type); }
  std::size_t first_byte() const { return static_cast<std::size_t>(first) * bytes_of(type); }
  std::size_t bytes() const { return size() * bytes_of(type); }
};

struct Section {
  std::string name; // "weights", "moments", "average", "counters", ...: a group of the file
  std::vector<Item> items;
  nlohmann::json scalars = nlohmann::json::object(); // small values: kept in the manifest
};

struct Snapshot {
  std::int64_t step = 0;
  std::string deck;                               // resolved deck, TOML
  nlohmann::json info = nlohmann::json::object(); // free: model dims, tokenizer hash, fingerprint
  std::string tokenizer; // tokenizer.json text; written beside as tokenizer.json ("" : none)
  // Further small files that travel with the model: name, content (kCompanions).
  std::vector<std::pair<std::string, std::string>> companions;
  std::string state_hash; // stored as given; "" : computed while writing
  // What this writer writes. Pieces of many writers do not overlap and together are all tensors.
  std::vector<Section> sections;
  // Many writers: all sections with all global tensors (data = null) and the scalars, in the order of the state hash. Every writer is
  // given the same; the scalars of `sections` are not looked at then.
  std::vector<Section> whole;
  // Many writers: a name of this writing that was never used before, the same for all writers (new_attempt() of one of them). Letters,
  // digits, '-', '_'. What a killed attempt left cannot be taken for a part of this one.
  std::string attempt;
};
std::string new_attempt();

// Names of the files that travel with a model beside tokenizer.json.
inline constexpr const char *kCompanions[] = {"tokenizer_config.json", "chat_template.jinja",
                                              "generation_config.json", "hf_config.json"};

struct WriterOptions {
  std::filesystem::path directory; // <run>/checkpoints
  std::int64_t keep_last = 2;
  std::int64_t keep_every = 0; // steps divisible by this are kept for good; 0: none
  // This writer of so many. Writer 0 brings the parts together, keeps the rule above, and removes at construction what killed runs left:
  // it is constructed before any of the others starts.
  int writer = 0, writers = 1;
  double deadline = 600; // seconds that a writer whose part is done waits for the others
  const std::atomic<bool> *abandoned =
      nullptr; // the writer's own: true when nobody is waited for any more
};

// Writes snapshots in a thread of its own. The data that a snapshot's items point to must stay unchanged until finished. With many
// writers every one of them starts a snapshot of the same step and attempt, and all learn the outcome: the checkpoint is there, or none.
class Writer {
public:
  explicit Writer(WriterOptions options);
  // Waits; while an exception unwinds, for its own file only and not for the other writers, of which one may be why.
  ~Writer();
  void start(Snapshot snapshot); // waits for the one before; throws what it threw
  bool busy() const;
  // Throws what the writing threw: E201 (full disk, unwritable; also of another writer, which is named), E202 (writers that were not
  // heard of within the deadline); earlier checkpoints stay intact.
  void wait();
  double last_seconds() const;      // of the last finished writing
  std::uint64_t last_bytes() const; // of this writer's file

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A checkpoint on disk. Opening reads the manifest only.
class Reader {
public:
  // path: a step directory, or a run directory / its checkpoints folder (newest valid DONE wins; a damaged one is named in a warning,
  // skipped and never deleted). Errors E210 (none there), E211 (damaged: what, where), E212 (format version), exit code 5.
  static Reader open(const std::filesystem::path &path);
  // A step directory that another rank has verified (newest() there, then its directory() was told): only the bytes that are wanted are
  // read. Pieces that are wanted whole are still compared with their checksums.
  static Reader open_verified(const std::filesystem::path &step_directory);
  // The newest valid one below a run directory; empty when there is none at all. E211 when all are damaged: a run must not start
  // afresh where there was a state.
  static std::optional<Reader> newest(const std::filesystem::path &run_directory);
  // All step directories with DONE below a run directory, oldest first.
  static std::vector<std::filesystem::path> list(const std::filesystem::path &run_directory);
  Reader(Reader &&) noexcept;
  ~Reader();

  const std::filesystem::path &directory() const;
  const nlohmann::json &manifest() const;
  std::int64_t step() const;
  std::string deck() const; // resolved deck, TOML
  std::string state_hash() const;
  // Content of tokenizer.json or of a companion; empty when the checkpoint has none. E211 when it was changed.
  std::optional<std::string> text_file(const std::string &name) const;
  // All companions, to be handed on to a snapshot.
  std::vector<std::pair<std::string, std::string>> companions() const;
  std::vector<std::string> section_names() const;
  bool has(const std::string &section) const;
  nlohmann::json scalars(const std::string &section) const;
  // Names, shapes and types of a section's global tensors, data = null.
  std::vector<Item> describe(const std::string &section) const;
  // Reads into the items' memory: any pieces, however the writers cut them. Missing tensors and other shapes or types: E213, a list of
  // name, file shape, expected shape. Checksums are verified (E211): of one file as a whole, of many files of the pieces that are
  // touched. exact: complain of tensors in the file that nobody asked for.
  void read(const std::string &section, const std::vector<Item> &items, bool exact = true) const;
  // The checks of read without the reading: E213, E211.
  void require(const std::string &section, const std::vector<Item> &items, bool exact = true) const;
  // Bytes [first, first + bytes) of one tensor, without HDF5: large tensors can be walked in pieces. Verified before, like read.
  void read_part(const std::string &section, const std::string &tensor, std::uint64_t first,
                 std::size_t bytes, void *to) const;
  // Verifies every checksum: "" or the first fault, which names the damaged tensor where one is hit.
  std::string verify() const;
  // The state hash of what lies in the file, tensor by tensor; state_hash() is what the writer noted.
  std::string compute_state_hash() const;

private:
  struct Impl;
  void require_intact() const;
  void require_shapes(const std::string &section, const std::vector<Item> &items, bool exact) const;
  explicit Reader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Hash of a state: (name, block, XXH3-128) of global 1 MiB blocks of every tensor in the order given, then the scalars given.
// The same for a running program and for a checkpoint's sections in the order of the manifest.
class StateHash {
public:
  StateHash();
  ~StateHash();
  void add(const std::string &name, const void *data, std::size_t bytes);
  // One block of at most kBlockBytes; all blocks in order are the same as add() of the whole.
  static constexpr std::size_t kBlockBytes = std::size_t{1} << 20;
  void add_block(const std::string &name, std::uint64_t block, const void *data, std::size_t bytes);
  void add_sum(const std::string &name, std::uint64_t block, base::Hash128 sum);
  void add_scalars(const Section &section);
  std::string hex() const; // 32 digits

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};
std::string state_hash(const std::vector<Section> &sections);

} // namespace checkpoint
