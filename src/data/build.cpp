// SPDX-License-Identifier: Apache-2.0
#include "data/build.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <thread>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "data/encode.hpp"

namespace data {
namespace {

namespace fs = std::filesystem;
using base::Exit;
using base::UserError;

// Changes when the same inputs would give other shards: older data is then built anew.
constexpr int kBuildVersion = 1;

std::string join(const std::vector<std::string> &list) {
  std::string text;
  for (const std::string &item : list) text += fmt::format("{}:{},", item.size(), item);
  return text;
}

// Every key that decides what is built; weights, masking and fill-in-the-middle belong to reading.
std::string hash_of(const Options &o, const std::optional<Tokenizer> &given) {
  std::string text = fmt::format("{} {} {} {} {} {}\n", kBuildVersion, o.validation, o.shard_tokens,
                                 o.newline_split, o.seed, static_cast<int>(o.on_bad_text));
  text +=
      given ? given->hash().hex() : fmt::format("trained {} {}", o.vocabulary, o.tokenizer_text);
  for (const SourceOptions &s : o.sources)
    text += fmt::format("\n{} {} {} {} {} {}", s.name, static_cast<int>(s.format), s.field,
                        join(s.paths), join(s.include), join(s.exclude));
  return base::hash128(text).hex();
}

void make_directory(const fs::path &path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error)
    throw UserError(Exit::data, "E117", path.string(), "cannot be made: " + error.message(),
                    "Choose a data.directory on a file system that can be written to.");
}

// One build at work in one directory.
class Builder {
public:
  explicit Builder(const BuildRequest &request)
      : request_(request), options_(request.options),
        directory_(directory_of(request.options, request.deck)),
        threads_(request.threads > 0
                     ? request.threads
                     : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()))) {}

  BuildResult run() {
    check_options(options_, request_.deck);
    find_inputs();
    make_directory(directory_);
    const base::DirectoryLock lock(directory_);
    result_.directory = directory_;
    if (already_there()) return std::move(result_);
    folder_ = "tokens-" + base::hash128(options_hash_ + inputs_hash_).hex().substr(0, 16);
    make_directory(directory_ / folder_);
    clean(directory_ / folder_, ".tmp");
    prepare_tokenizer();
    for (std::size_t s = 0; s < corpora_.size(); ++s) build_source(s);
    write_manifest();
    remove_older();
    return std::move(result_);
  }

private:
  void find_inputs() {
    std::string inputs;
    for (const SourceOptions &source : options_.sources) {
      corpora_.emplace_back(source, options_.on_bad_text);
      inputs += corpora_.back().fingerprint() + "\n";
    }
    if (!options_.tokenizer.empty()) tokenizer_ = Tokenizer::load(options_.tokenizer);
    inputs_hash_ = base::hash128(inputs).hex();
    options_hash_ = hash_of(options_, tokenizer_);
  }

  // True when the manifest there is that of this very build and all shards lie there.
  bool already_there() {
    if (!fs::exists(manifest_path(directory_))) return false;
    Manifest manifest = read_manifest(directory_);
    const bool other_options = manifest.options_hash != options_hash_,
               other_inputs = manifest.inputs_hash != inputs_hash_;
    if (other_options || other_inputs) {
      const char *what = !other_inputs    ? "other keys of [data]"
                         : !other_options ? "other text (files were added, removed or changed)"
                                          : "other text and other keys of [data]";
      if (!request_.rebuild)
        throw UserError(Exit::data, "E118", directory_.string(),
                        fmt::format("holds finished data built from {}", what),
                        "Runs may depend on it, so it is not replaced unasked: give data.directory "
                        "another name, or say hadal data build DECK --rebuild.");
      return false;
    }
    if (!shards_complete(manifest)) return false;
    for (std::size_t s = 0; s < manifest.sources.size(); ++s) {
      result_.reweighted =
          result_.reweighted || manifest.sources[s].weight != options_.sources[s].weight;
      manifest.sources[s].weight = options_.sources[s].weight;
    }
    if (result_.reweighted)
      base::write_file_atomic(manifest_path(directory_), manifest.to_json(), Exit::data, "E117");
    result_.up_to_date = true;
    result_.manifest = std::move(manifest);
    return true;
  }

  bool shards_complete(const Manifest &manifest) const {
    std::error_code error;
    if (!fs::exists(directory_ / manifest.tokenizer_file, error)) return false;
    for (const SourceInfo &source : manifest.sources)
      for (const SplitInfo *split : {&source.train, &source.validation})
        for (const ShardInfo &shard : split->shards)
          if (fs::file_size(directory_ / shard.file, error) !=
                  static_cast<std::uintmax_t>(shard.size) ||
              error)
            return false;
    return true;
  }

  void prepare_tokenizer() {
    const fs::path path = directory_ / folder_ / "tokenizer.json";
    if (!tokenizer_ && fs::exists(path)) tokenizer_ = Tokenizer::load(path);
    if (!tokenizer_) tokenizer_ = train_tokenizer();
    if (!fs::exists(path)) base::write_file_atomic(path, tokenizer_->to_json(), Exit::data, "E117");
    tokenizer_hash_ = tokenizer_->hash().hex();
  }

  // Trains on the training text only, evenly thinned by hash when there is more than the limit.
  Tokenizer train_tokenizer() {
    std::uint64_t total = 0, done = 0;
    for (const Corpus &corpus : corpora_) total += corpus.bytes_total();
    const double share = std::min(1.0, static_cast<double>(options_.tokenizer_text) /
                                           std::max(1.0, static_cast<double>(total)));
    TokenizerTraining training;
    training.vocabulary = static_cast<int>(options_.vocabulary);
    TokenizerTrainer trainer(training);
    const base::Stopwatch watch;
    for (Corpus &corpus : corpora_) {
      corpus.seek({});
      while (const std::optional<std::string> text = corpus.next()) {
        const base::Hash128 hash = base::hash128(*text);
        if (held_out(hash, options_.validation) || !held_out({hash.low, 0}, share)) continue;
        trainer.add(*text);
        report({"tokenizer", done + corpus.bytes_read(), total, 0, watch.seconds(), 0});
      }
      done += corpus.bytes_total();
    }
    return trainer.finish();
  }

  fs::path part_path(std::size_t s, std::int64_t index) const {
    return directory_ / folder_ /
           fmt::format("{}-{:05}.part.json", options_.sources[s].name, index);
  }

  // A finished part of an earlier, interrupted build; nothing when it, or one of its shards, is missing or damaged.
  std::optional<Part> kept_part(const fs::path &path) const {
    if (!fs::exists(path)) return std::nullopt;
    try {
      Part part = part_from_json(base::read_file(path, Exit::data, "E120"), path.string());
      for (const ShardInfo *shard : {&part.train, &part.validation})
        if (shard->documents > 0) Shard(directory_, *shard).verify();
      if (part.tokenizer_hash != tokenizer_hash_) return std::nullopt;
      return part;
    } catch (const UserError &error) {
      base::log::warn("{}\nThis part is built again.", error.what());
      return std::nullopt;
    }
  }

  void build_source(std::size_t s) {
    SourceInfo info;
    info.name = options_.sources[s].name;
    info.weight = options_.sources[s].weight;
    info.files = static_cast<std::int64_t>(corpora_[s].files().size());
    info.file_bytes = static_cast<std::int64_t>(corpora_[s].bytes_total());
    corpora_[s].seek({});
    std::int64_t index = 0;
    bool last = false;
    for (; !last; ++index) {
      std::optional<Part> part = kept_part(part_path(s, index));
      if (!part || part->next.file > corpora_[s].files().size()) break;
      adopt(info, *part);
      corpora_[s].seek(part->next);
      last = part->last;
      ++result_.parts_kept;
    }
    Work work{s,
              EncodedStream(corpora_[s], *tokenizer_, options_, threads_),
              {},
              {},
              corpora_[s].bytes_read(),
              0};
    for (; !last; ++index) {
      const Part part = build_part(work, index);
      base::write_file_atomic(part_path(s, index), part.to_json(), Exit::data, "E117");
      adopt(info, part);
      last = part.last;
      ++result_.parts_built;
    }
    if (info.train.documents() == 0)
      throw UserError(Exit::data, "E116", fmt::format("[[data.source]] \"{}\"", info.name),
                      fmt::format("no training document in {} files ({} empty, {} not UTF-8, {} "
                                  "held out for validation)",
                                  info.files, info.skipped.empty, info.skipped.bad,
                                  info.validation.documents()),
                      "Give it more text, a smaller data.validation, or remove the source.");
    result_.manifest.sources.push_back(std::move(info));
  }

  static void adopt(SourceInfo &info, const Part &part) {
    info.skipped.empty += part.skipped.empty;
    info.skipped.bad += part.skipped.bad;
    if (part.train.documents > 0) info.train.shards.push_back(part.train);
    if (part.validation.documents > 0) info.validation.shards.push_back(part.validation);
  }

  // What is at hand while a source is built.
  struct Work {
    std::size_t source;
    EncodedStream stream;
    base::Stopwatch watch;
    Skipped before; // what had been skipped when the part began
    std::uint64_t bytes_before;
    std::int64_t tokens;
  };

  // Documents until both splits together hold shard_tokens.
  Part build_part(Work &work, std::int64_t index) {
    const std::size_t s = work.source;
    ShardWriter train(token_width()), validation(token_width());
    Part part;
    part.tokenizer_hash = tokenizer_hash_;
    part.last = true;
    Skipped now = corpora_[s].skipped();
    part.next = corpora_[s].tell();
    while (const EncodedDocument *document = work.stream.peek()) {
      (document->validation ? validation : train).add(document->tokens, document->text_bytes);
      part.next = document->after;
      now = document->skipped;
      work.tokens += static_cast<std::int64_t>(document->tokens.size());
      report({options_.sources[s].name, document->bytes_read, corpora_[s].bytes_total(),
              work.tokens, work.watch.seconds(), work.bytes_before});
      work.stream.pop();
      if (train.tokens() + validation.tokens() < options_.shard_tokens) continue;
      part.last = false;
      break;
    }
    if (part.last) {
      part.next = corpora_[s].tell();
      now = corpora_[s].skipped();
    }
    part.skipped = {now.empty - work.before.empty, now.bad - work.before.bad};
    work.before = now;
    const std::string name = fmt::format("{}/{}-{:05}", folder_, options_.sources[s].name, index);
    if (train.documents() > 0) part.train = train.write(directory_, name + ".train.tokens");
    if (validation.documents() > 0)
      part.validation = validation.write(directory_, name + ".validation.tokens");
    return part;
  }

  int token_width() const { return tokenizer_->size() <= 65536 ? 2 : 4; }

  void write_manifest() {
    Manifest &manifest = result_.manifest;
    manifest.options_hash = options_hash_;
    manifest.inputs_hash = inputs_hash_;
    manifest.tokenizer_file = folder_ + "/tokenizer.json";
    manifest.tokenizer_hash = tokenizer_hash_;
    manifest.vocabulary = tokenizer_->size();
    manifest.token_width = token_width();
    // A copy at a place that stays: for people, other programs and other decks.
    base::write_file_atomic(directory_ / "tokenizer.json", tokenizer_->to_json(), Exit::data,
                            "E117");
    base::write_file_atomic(manifest_path(directory_), manifest.to_json(), Exit::data, "E117");
  }

  // Left-over folders of other builds, now that the manifest points to this one. A run that has them open keeps its maps.
  void remove_older() const {
    std::error_code error;
    std::vector<fs::path> old;
    for (const auto &entry : fs::directory_iterator(directory_, error)) {
      const std::string name = entry.path().filename().string();
      const bool ours = name.size() == 23 && name.starts_with("tokens-") &&
                        name.find_first_not_of("0123456789abcdef", 7) == std::string::npos;
      if (ours && name != folder_ && entry.is_directory() && !entry.is_symlink())
        old.push_back(entry.path());
    }
    for (const fs::path &path : old) fs::remove_all(path, error);
  }

  // Files that a killed write left behind; the lock says that nobody is writing them.
  static void clean(const fs::path &folder, std::string_view mark) {
    std::error_code error;
    std::vector<fs::path> old;
    for (const auto &entry : fs::directory_iterator(folder, error))
      if (entry.path().filename().string().find(mark) != std::string::npos)
        old.push_back(entry.path());
    for (const fs::path &path : old) fs::remove(path, error);
  }

  void report(const BuildProgress &progress) const {
    if (request_.progress) request_.progress(progress);
  }

  const BuildRequest &request_;
  const Options &options_;
  fs::path directory_;
  int threads_;
  std::string folder_, options_hash_, inputs_hash_, tokenizer_hash_;
  std::vector<Corpus> corpora_;
  std::optional<Tokenizer> tokenizer_;
  BuildResult result_;
};

} // namespace

double BuildProgress::eta() const {
  if (bytes <= bytes_before || seconds < 0.5) return -1.0;
  return seconds * static_cast<double>(bytes_total - std::min(bytes, bytes_total)) /
         static_cast<double>(bytes - bytes_before);
}

BuildResult build(const BuildRequest &request) { return Builder(request).run(); }

} // namespace data
