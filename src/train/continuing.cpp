// SPDX-License-Identifier: Apache-2.0
#include "train/continuing.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/log.hpp"
#include "train/fingerprint.hpp"

namespace train {
namespace {

using base::Exit, base::UserError;

// What the deck would have to say: the names that it gives already, then the new ones.
std::string accept_line(const std::vector<std::string> &given,
                        const std::vector<arch::Difference> &refused) {
  auto names = given;
  for (const auto &d : refused) names.push_back(d.name);
  return fmt::format("run.accept_changes=[\"{}\"]", fmt::join(names, "\", \""));
}

void tell_rest(const checkpoint::Reader &reader, const arch::Differences &found,
               const std::vector<std::string> &accepted) {
  const std::string where = reader.directory().string();
  if (!found.accepted.empty())
    base::log::warn("run.accept_changes: this run differs from {}\n{}", where,
                    arch::table(found.accepted, "checkpoint", "this run"));
  for (const auto &name : accepted)
    if (std::none_of(found.accepted.begin(), found.accepted.end(),
                     [&](const auto &d) { return d.name == name; }))
      base::log::info("run.accept_changes: {} is the same as in {}", name, where);
  if (!found.not_told_by_them.empty())
    base::log::info("not compared, since {} does not tell it: {}", where,
                    fmt::join(found.not_told_by_them, ", "));
}

} // namespace

void require_same_tokenizer(const checkpoint::Reader &reader, const std::string &ours) {
  const auto info = reader.manifest().value("info", nlohmann::json::object());
  const std::string theirs = info.value("tokenizer", "");
  if (!theirs.empty() && theirs != ours)
    throw UserError(Exit::checkpoint, "E221", reader.directory().string(),
                    "its tokenizer is " + theirs + ", the data was built with " + ours,
                    "use the data (or the tokenizer) that the checkpoint was trained with");
}

namespace {

void compare(const checkpoint::Reader &reader, const arch::Fingerprint &theirs,
             const arch::Fingerprint &ours, const std::vector<std::string> &accepted) {
  const auto found = arch::differences(theirs, ours, accepted);
  if (!found.refused.empty())
    throw UserError(
        Exit::checkpoint, "E222", reader.directory().string(),
        "this run would not mean what the checkpoint means",
        fmt::format("{}\nGive the deck the values of the checkpoint. If the changes are meant, "
                    "accept them by name:\n  {}\n(in quotes on the command line, or under [run] "
                    "of the deck without \"run.\"; docs/fingerprint.md)",
                    arch::table(found.refused, "checkpoint", "this run"),
                    accept_line(accepted, found.refused)));
  tell_rest(reader, found, accepted);
}

} // namespace

void require_same_meaning(const checkpoint::Reader &reader, const Options &options) {
  compare(reader, fingerprint_of(reader), fingerprint(options), options.run.accept_changes);
}

void require_same_model(const checkpoint::Reader &reader, const Options &options) {
  auto theirs = fingerprint_of_model(reader);
  auto ours = arch::fingerprint(options.dims);
  if (options.run.phase == Phase::extend)
    for (auto *list : {&theirs.entries, &ours.entries})
      std::erase_if(*list, [](const auto &entry) {
        return entry.first != "model.rope.theta" && entry.first.starts_with("model.rope.");
      });
  compare(reader, theirs, ours, options.run.accept_changes);
}

void require_same_phase(const checkpoint::Reader &reader, Phase phase) {
  const auto info = reader.manifest().value("info", nlohmann::json::object());
  const std::string theirs = info.value("phase", "pretrain"), ours = name_of(phase);
  if (theirs != ours)
    throw UserError(Exit::checkpoint, "E223", reader.directory().string(),
                    fmt::format("it is of phase {}, this deck of phase {}", theirs, ours),
                    "A phase that starts from it has a run.directory of its own and names it in "
                    "run.init_from.");
}

nlohmann::json order_of_samples(const Options &o, const std::string &content_hash) {
  return {{"data.content", content_hash}, // of conversations too
          {"data.fim_rate", o.data.fim_rate},
          {"data.mask_documents", o.data.mask_documents},
          {"run.seed", o.run.seed},
          {"batch.sequence", o.batch.sequence},
          {"batch.global_batch", o.batch.global_batch}};
}

void tell_other_order(const checkpoint::Reader &reader, const nlohmann::json &order) {
  const auto info = reader.manifest().value("info", nlohmann::json::object());
  for (const auto &[name, ours] : order.items())
    if (info.contains(name) && info.at(name) != ours)
      base::log::warn(
          "{} was {} when the checkpoint was written and is {} now: the order of samples "
          "differs from that of a run that was never stopped",
          name, info.at(name).dump(), ours.dump());
}

std::optional<checkpoint::Reader> find_restart(const Options &o, const std::string &restart) {
  if (restart == "none") {
    if (!checkpoint::Reader::list(o.run.directory).empty())
      throw base::UserError(base::Exit::checkpoint, "E220", o.run.directory,
                            "--restart none, but checkpoints lie here",
                            "give another run.directory, move them away, or use --restart auto");
    return std::nullopt;
  }
  if (restart == "auto") return checkpoint::Reader::newest(o.run.directory);
  return checkpoint::Reader::open(restart);
}

std::optional<checkpoint::Reader>
together(comm::Communicator &world,
         const std::function<std::optional<checkpoint::Reader>()> &find) {
  if (world.size() == 1) return find();
  std::optional<checkpoint::Reader> found;
  if (world.rank() == 0)
    if (auto reader = find()) {
      // The others read what they hold and trust this rank with the rest.
      if (const auto fault = reader->verify(); !fault.empty())
        throw UserError(
            Exit::checkpoint, "E211", reader->directory().string(), fault,
            "Take an older checkpoint (--restart, run.init_from). Nothing was deleted.");
      found.emplace(std::move(*reader));
    }
  const std::string path =
      world.all_gather_text(found ? found->directory().string() : "", {"checkpoint"})[0];
  if (world.rank() != 0 && !path.empty()) found.emplace(checkpoint::Reader::open_verified(path));
  return found;
}

std::optional<checkpoint::Reader>
together(const Ranks &ranks, const std::function<std::optional<checkpoint::Reader>()> &find) {
  return together(ranks.world(), find);
}

} // namespace train
