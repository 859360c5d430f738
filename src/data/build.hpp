// SPDX-License-Identifier: Apache-2.0
#pragma once
// From text to token shards (docs/data.md). Documents go through in order: found, read, held out or not by the hash of their
// content, encoded, gathered into shards. Each pair of shards is followed by a part file that says where the next begins; the
// manifest comes last. A build that was killed goes on behind its last part and gives the same bytes.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "base/hash.hpp"
#include "data/manifest.hpp"
#include "data/options.hpp"
#include "data/tokenizer.hpp"

namespace data {

struct BuildProgress {
  std::string stage;                        // "tokenizer" or the name of a source
  std::uint64_t bytes = 0, bytes_total = 0; // of the stage's text
  std::int64_t tokens = 0;                  // of the stage so far
  double seconds = 0.0;                     // since the stage began
  std::uint64_t bytes_before = 0;           // done by an earlier build that was interrupted
  double eta() const;                       // seconds left; negative while unknown
};

struct BuildRequest {
  Options options;
  std::string deck;     // path of the deck, for messages and the default directory
  bool rebuild = false; // replace finished data that was built from other inputs or options
  int threads = 0;      // 0: as many as the machine has cores
  std::function<void(const BuildProgress &)> progress; // may be empty
};

struct BuildResult {
  std::filesystem::path directory;
  Manifest manifest;
  bool up_to_date = false; // nothing was to be done
  bool reweighted = false; // only the weights in the manifest were renewed
  std::int64_t parts_kept = 0, parts_built = 0;
};

// Errors: E110 to E118, E128, those of the tokenizer, E070 when another build is at work there.
BuildResult build(const BuildRequest &request);

// The rule of the split: a document is held out when its hash, as a number in [0, 1), is below the share. So equal documents
// are on the same side, and the split does not depend on the order or number of files.
bool held_out(const base::Hash128 &document, double share);

// Splits tokens of punctuation and line breaks at the given rate: a function of (seed, hash of the document, place).
class NewlineSplitter {
public:
  NewlineSplitter(const Tokenizer &tokenizer, double rate, std::uint64_t seed);
  void apply(std::vector<Token> &tokens, const base::Hash128 &document) const;

private:
  double rate_;
  std::uint64_t seed_;
  std::vector<std::vector<Token>> parts_; // by token; empty where there is nothing to split
};

} // namespace data
