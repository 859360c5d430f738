// SPDX-License-Identifier: Apache-2.0
#include "train/grpo/models.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/log.hpp"
#include "reward/show.hpp"
#include "train/continuing.hpp"

namespace train::grpo {
namespace {

using base::Exit, base::UserError;
using reward::Kind, reward::RuleOptions;
namespace chat = data::chat;

[[noreturn]] void refuse(const RuleOptions &rule, const char *number, const std::string &read,
                         const std::string &advice) {
  throw UserError(Exit::checkpoint, number, fmt::format("[[reward]] {}: model", rule.name), read,
                  advice);
}

// Tokens of a conversation at most, with the end of its turn. What is shown besides may double it.
std::int64_t longest(const train::Options &o, const RuleOptions &rule) {
  return (rule.show.empty() ? 1 : 2) * o.batch.sequence + 2;
}

// Of the checkpoint's own deck.
chat::Form form_of(const checkpoint::Reader &reader) {
  deck::Deck deck = deck::Deck::parse(reader.deck(), reader.directory().string() + ": deck");
  data::PairOptions pairs;
  if (deck.has("pairs")) deck.read_table("pairs", pairs);
  return pairs.form;
}

RewardModel found(const train::Options &o, const RuleOptions &rule, comm::Communicator &world) {
  const auto reader =
      together(world, [&] { return std::optional(checkpoint::Reader::open(rule.model)); });
  RewardModel m{rule.model, reader->directory().string(), reader->state_hash(),
                infer::dims_of(*reader), longest(o, rule)};
  if (m.dims.head != arch::Head::reward)
    refuse(rule, "E354", m.directory,
           "This is no reward model: phase reward writes one (model.head = \"reward\").");
  if (const auto form = form_of(*reader); form != o.grpo.form)
    refuse(rule, "E356",
           fmt::format("{}: its pairs have the layout {}", m.directory, chat::name_of(form)),
           fmt::format("The questions here have the layout {}: give grpo.form the other.",
                       chat::name_of(o.grpo.form)));
  if (m.dims.moe() && m.dims.experts % o.parallel.ep != 0)
    refuse(rule, "E014", fmt::format("{} routed experts", m.dims.experts),
           fmt::format("parallel.ep = {} cannot share them evenly.", o.parallel.ep));
  return m;
}

infer::Group group_of(const train::Options &o, const Ranks &ranks, const arch::Dims &dims) {
  train::Options of_model = o; // the way between nodes depends on the experts
  of_model.dims = dims;
  const int pp = ranks.mesh().place.pp;
  return infer::group_of(ranks.mesh(),
                         pp > 1 ? infer::even_stages(dims, pp) : std::vector<infer::Stage>{},
                         ranks.expert_group(of_model));
}

infer::ScoreOptions score_options(const train::Options &o, const RewardModel &model) {
  return {o.batch.micro_batch, model.longest};
}

} // namespace

train::Options with_models(train::Options o, comm::Communicator &world) {
  o.grpo.models.clear();
  for (const RuleOptions &rule : o.reward.rules) {
    if (o.run.phase != Phase::grpo || rule.kind != Kind::model) continue;
    const auto known = std::ranges::find(o.grpo.models, rule.model, &RewardModel::given);
    if (known == o.grpo.models.end())
      o.grpo.models.push_back(found(o, rule, world));
    else
      known->longest = std::max(known->longest, longest(o, rule));
  }
  return o;
}

template <class A> std::size_t model_bytes(const train::Options &o, const Ranks &ranks) {
  std::size_t sum = 0;
  for (const RewardModel &m : o.grpo.models)
    sum += infer::Scores<A>::bytes(m.dims, group_of(o, ranks, m.dims), score_options(o, m));
  return sum;
}

template <class A>
Models<A>::Models(const train::Options &options, const Ranks &ranks,
                  const data::Tokenizer &tokenizer)
    : o_(options), tokenizer_(tokenizer) {
  for (const RewardModel &m : o_.grpo.models) {
    const auto reader = checkpoint::Reader::open_verified(m.directory);
    const std::string ours = tokenizer.hash().hex(),
                      theirs = reader.manifest()
                                   .value("info", nlohmann::json::object())
                                   .value("tokenizer", std::string("not known"));
    if (theirs != ours)
      throw UserError(Exit::checkpoint, "E355", m.directory,
                      fmt::format("its tokenizer is {}, that of this run {}", theirs, ours),
                      "A reward model reads the tokens of the answers: train it with the "
                      "tokenizer of the model that answers.");
    tensor::Arena none("train::grpo::models", 1 << 16);
    tensor::Context ctx{tensor::Exec(), none};
    const infer::Group group = group_of(o_, ranks, m.dims);
    const auto &place = ranks.mesh().place;
    auto weights =
        infer::load_weights<A>(ctx, reader, m.dims, {group.parts(m.dims), place.ep, place.ep_rank});
    scores_[m.given] =
        std::make_unique<infer::Scores<A>>(m.dims, std::move(weights), group, score_options(o_, m));
    if (ranks.first()) base::log::info("reward model {} (step {})", m.directory, reader.step());
  }
}

template <class A>
std::vector<data::Token> Models<A>::question(const RuleOptions &rule, const data::Json &problem,
                                             const std::string &place) const {
  chat::Message message;
  message.content = reward::shown(rule, problem, place);
  return chat::encode({message}, tokenizer_, {o_.grpo.form, true}, false, place).tokens;
}

template <class A>
void Models<A>::check(const data::Json &problem, const std::string &place) const {
  for (const RuleOptions &rule : o_.reward.rules) {
    if (rule.kind != Kind::model || rule.show.empty()) continue;
    const auto tokens = static_cast<std::int64_t>(question(rule, problem, place).size()),
               room = longest(o_, rule) - 1 - std::min(o_.grpo.max_tokens, o_.batch.sequence);
    if (tokens > room)
      throw UserError(Exit::data, "E357", place,
                      fmt::format("what the reward {} shows of it has {} tokens; {} leave room "
                                  "for the answer",
                                  rule.name, tokens, room),
                      "make `show` or the field shorter, or batch.sequence longer");
  }
}

template <class A>
std::vector<double> Models<A>::ask(const RuleOptions &rule, const std::vector<Shown> &all) {
  std::vector<std::vector<data::Token>> conversations;
  const data::Json *last = nullptr;
  std::vector<data::Token> shown;
  for (const Shown &one : all) {
    if (!rule.show.empty() && one.problem != last)
      shown = question(rule, *one.problem, *one.place), last = one.problem;
    auto &tokens = conversations.emplace_back(
        rule.show.empty() ? std::vector<data::Token>(one.prompt.begin(), one.prompt.end()) : shown);
    tokens.insert(tokens.end(), one.answer.begin(), one.answer.end());
    // Phase reward has read the score at the end of a turn.
    if (tokens.back() != tokenizer_.eos()) tokens.push_back(tokenizer_.eos());
  }
  return (*scores_.at(rule.model))(conversations);
}

template std::size_t model_bytes<float>(const train::Options &, const Ranks &);
template std::size_t model_bytes<numerics::bf16>(const train::Options &, const Ranks &);
template class Models<float>;
template class Models<numerics::bf16>;

} // namespace train::grpo
