// SPDX-License-Identifier: Apache-2.0
#include "train/fingerprint.hpp"

#include <algorithm>

#include "arch/options.hpp"
#include "base/text.hpp"

namespace train {
namespace {

constexpr const char *kEntry = "fingerprint"; // of a manifest's info

void add_balance(arch::Fingerprint &f, const Options &o) {
  f.set("balance.alpha", arch::fingerprint_text(o.balance.alpha));
  if (o.balance.alpha > 0) f.set("balance.loss", "a sample, chosen without bias and groups");
  if (!o.dims.router_bias) return;
  f.set("balance.gamma", arch::fingerprint_text(o.balance.gamma));
  if (o.balance.gamma > 0) f.set("balance.gamma_tokens", std::to_string(o.balance.gamma_tokens));
}

void add_mtp(arch::Fingerprint &f, const Options &o) {
  if (!o.mtp.train) return f.set("mtp.train", "false");
  f.set("mtp.lambda", arch::fingerprint_text(o.mtp.lambda));
  f.set("mtp.lambda_tokens", std::to_string(o.mtp.lambda_tokens));
  if (o.mtp.lambda_tokens > 0) f.set("mtp.lambda_late", arch::fingerprint_text(o.mtp.lambda_late));
  f.set("loss.mtp", "lambda / depth, for each depth");
}

void add_conversations(arch::Fingerprint &f, const data::ChatOptions &o) {
  const char *const trained[] = {"all turns of the assistant", "the assistant's last turn", "all"};
  f.set("sft.train_on", trained[static_cast<int>(o.train_on)]);
  f.set("sft.form", data::chat::name_of(o.form));
}

void add_policy(arch::Fingerprint &f, const grpo::Options &o) {
  const char *const means[] = {"answer", "token", "length"};
  f.set("grpo.group", std::to_string(o.group));
  f.set("grpo.ratio", o.ratio == grpo::Options::Ratio::sequence ? "sequence" : "token");
  f.set("grpo.clip_low", arch::fingerprint_text(o.clip_low));
  f.set("grpo.clip_high", arch::fingerprint_text(o.clip_high));
  f.set("grpo.beta", arch::fingerprint_text(o.beta));
  f.set("grpo.spread", o.spread == grpo::Spread::deviation ? "deviation" : "none");
  f.set("grpo.mean", means[static_cast<int>(o.mean)]);
  f.set("grpo.temperature", arch::fingerprint_text(o.temperature));
  f.set("grpo.top_p", arch::fingerprint_text(o.top_p));
}

// What a rule judges beside whole answers as they are, and which model does.
std::string seen_by(const grpo::Options &o, const reward::RuleOptions &rule) {
  std::string text;
  if (rule.per == reward::Per::step) text += " of steps, " + base::text::readable(o.step_end);
  if (!rule.show.empty()) text += ", shown " + rule.show;
  for (const grpo::RewardModel &model : o.models)
    if (rule.kind == reward::Kind::model && rule.model == model.given)
      text += ", state " + model.hash;
  return text;
}

void add_teacher(arch::Fingerprint &f, const distil::TeacherOptions &o) {
  f.set("teacher.state", o.hash);
  f.set("teacher.top_k", std::to_string(o.top_k));
  f.set("teacher.temperature", arch::fingerprint_text(o.temperature));
  f.set("teacher.weight", arch::fingerprint_text(o.weight));
}

// What has no effect is left out, as in the model's part.
void add_training(arch::Fingerprint &f, const Options &o) {
  f.set("loss.mean", "all targets of a step, each depth apart");
  f.set("loss.targets", "not across documents that are masked");
  if (o.run.phase == Phase::sft) {
    add_conversations(f, o.sft);
  } else if (o.run.phase == Phase::reward) {
    f.set("loss.pairs", "-log sigmoid(better - worse), mean over pairs");
  } else if (o.run.phase == Phase::grpo) {
    add_policy(f, o.grpo);
    std::string rewards;
    for (const auto &rule : o.reward.rules)
      rewards += (rewards.empty() ? "" : ", ") + arch::fingerprint_text(rule.weight) + " " +
                 rule.kind_name + " " + rule.name + seen_by(o.grpo, rule);
    f.set("grpo.rewards", rewards);
  } else {
    f.set("data.mask_documents", o.data.mask_documents ? "true" : "false");
    f.set("data.fim_rate", arch::fingerprint_text(o.data.fim_rate));
  }
  if (o.teacher.on()) add_teacher(f, o.teacher);
  if (o.dims.moe() || o.dims.mtp_depth > 0) add_balance(f, o);
  if (o.dims.mtp_depth > 0) add_mtp(f, o);
}

// info of a checkpoint; an empty object where there is none.
nlohmann::json info_of(const checkpoint::Reader &reader) {
  return reader.manifest().value("info", nlohmann::json::object());
}

arch::Fingerprint from_deck(const checkpoint::Reader &reader) {
  deck::Deck deck = deck::Deck::parse(reader.deck(), reader.directory().string() + ": deck");
  Options o;
  o.dims = arch::read_dims(deck);
  arch::Fingerprint f = arch::fingerprint(o.dims);
  // The deck of a training run has them all; in other decks the defaults would be guesses.
  if (!deck.has("balance") || !deck.has("mtp") || !deck.has("data")) return f;
  deck.read_table("balance", o.balance);
  deck.read_table("mtp", o.mtp);
  deck.read_table("data", o.data);
  add_training(f, o);
  return f;
}

} // namespace

arch::Fingerprint fingerprint(const Options &options) {
  arch::Fingerprint f = arch::fingerprint(options.dims);
  add_training(f, options);
  return f;
}

std::vector<std::string> fingerprint_names() {
  Options all; // everything switched on
  all.dims.mtp_depth = 1;
  all.balance.alpha = 1, all.balance.gamma = 1;
  all.mtp.lambda_tokens = 1;
  arch::Fingerprint training;
  add_training(training, all);
  add_conversations(training, {});
  add_policy(training, {});
  add_teacher(training, {});
  training.set("loss.pairs", "");
  training.set("grpo.rewards", "");
  training.set("mtp.train", "false");
  auto names = arch::fingerprint_names();
  for (const auto &entry : training.entries) names.push_back(entry.first);
  return names;
}

bool has_fingerprint(const checkpoint::Reader &reader) { return info_of(reader).contains(kEntry); }

arch::Fingerprint fingerprint_of(const checkpoint::Reader &reader) {
  const auto info = info_of(reader);
  if (info.contains(kEntry))
    return arch::Fingerprint::from_json(info.at(kEntry), reader.directory().string());
  return reader.deck().empty() ? arch::Fingerprint() : from_deck(reader);
}

arch::Fingerprint fingerprint_of_model(const checkpoint::Reader &reader) {
  const auto known = arch::fingerprint_names();
  arch::Fingerprint model;
  for (const auto &[name, value] : fingerprint_of(reader).entries)
    if (std::find(known.begin(), known.end(), name) != known.end()) model.set(name, value);
  return model;
}

} // namespace train
