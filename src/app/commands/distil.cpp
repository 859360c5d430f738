// SPDX-License-Identifier: Apache-2.0
// hadal distil DECK: problems are put to a teacher, its good answers become samples for fine-tuning.
#include <cstdio>
#include <memory>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/commands/chat.hpp"
#include "app/commands/commands.hpp"
#include "app/commands/habits.hpp"
#include "app/kokkos_session.hpp"
#include "app/open_deck.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"
#include "distil/harvest.hpp"
#include "distil/http.hpp"
#include "infer/engine.hpp"
#include "infer/load.hpp"

namespace app {
namespace {

struct DistilArguments {
  std::string deck;
  std::vector<std::string> overrides;
  bool check = false, explain = false;
};

void say(const std::string &line) { fmt::print(stderr, "{}\n", line); }

// A checkpoint. An answer depends on the weights, the question, the sampling and its number: not on what is asked with it.
template <class A> class LocalTeacher : public distil::Teacher {
public:
  LocalTeacher(const distil::Options &options, const checkpoint::Reader &reader,
               const data::Tokenizer &tokenizer)
      : o_(options), tokenizer_(tokenizer), dims_(infer::dims_of(reader)),
        form_(form_of(options.chat, reader)),
        name_(fmt::format("{} step {} {} {}", reader.state_hash(), reader.step(),
                          std::is_same_v<A, float> ? "f32" : "bf16", data::chat::name_of(form_))),
        arena_("load", std::size_t{1} << 20), ctx_{tensor::Exec(), arena_},
        weights_(infer::load_weights<A>(ctx_, reader, dims_)) {}
  std::string name() const override { return name_; }

  void answer(const std::vector<distil::Asked> &asked, distil::Journal &journal,
              const distil::Progress &progress) override {
    std::vector<infer::Request> requests;
    std::vector<std::size_t> first; // of asked
    std::size_t longest = 0;
    for (std::size_t i = 0; i < asked.size(); ++i) {
      if (i > 0 && asked[i].question == asked[i - 1].question &&
          asked[i].sample == asked[i - 1].sample + 1) {
        ++requests.back().samples; // the prompt is read once
        continue;
      }
      requests.push_back(request_of(asked[i]));
      first.push_back(i);
      longest = std::max(longest, requests.back().prompt.size());
    }
    const auto options = engine_options(longest);
    tensor::Arena arena("distil", infer::Engine<A>::arena_bytes(dims_, options));
    tensor::Context ctx{tensor::Exec(), arena};
    infer::Engine<A> engine(dims_, weights_.views, options, &tokenizer_);
    infer::Index at_once = 0;
    std::size_t from = 0;
    for (std::size_t r = 0; r < requests.size(); ++r) {
      at_once += requests[r].samples;
      if (at_once < 4 * o_.batch && r + 1 < requests.size()) continue;
      const std::vector<infer::Request> some(requests.begin() + static_cast<std::ptrdiff_t>(from),
                                             requests.begin() + static_cast<std::ptrdiff_t>(r + 1));
      const auto results = engine.run(ctx, some);
      for (std::size_t k = 0; k < results.size(); ++k)
        for (std::size_t s = 0; s < results[k].answers.size(); ++s) {
          const infer::Answer &a = results[k].answers[s];
          const distil::Asked &which = asked[first[from + k] + s];
          journal.add({which.question->key, which.sample},
                      {a.text, a.finish != infer::Finish::length,
                       static_cast<std::int64_t>(a.tokens.size())});
        }
      progress(journal.size());
      from = r + 1, at_once = 0;
    }
  }

private:
  infer::Request request_of(const distil::Asked &asked) const {
    infer::Request r;
    const distil::Question &q = *asked.question;
    r.prompt =
        data::chat::encode(q.messages, tokenizer_, {form_, true}, false, q.problem->place).tokens;
    r.sampling.temperature = o_.temperature, r.sampling.top_p = o_.top_p;
    r.sampling.max_tokens = o_.max_tokens;
    r.sampling.seed = static_cast<std::uint64_t>(o_.seed);
    r.stream = base::hash64(q.key) + static_cast<std::uint64_t>(asked.sample);
    r.stop_tokens = {tokenizer_.eos()};
    r.stop_strings = o_.stop;
    return r;
  }

  infer::EngineOptions engine_options(std::size_t prompt) const {
    infer::EngineOptions e;
    e.attention = infer::Attention::absorbed, e.batch = o_.batch;
    e.rows = std::max<infer::Index>(512, o_.batch);
    e.sequence = static_cast<infer::Index>(prompt) + o_.max_tokens;
    e.tokens = std::max<infer::Index>(o_.cache, 2 * e.sequence);
    e.vocabulary = std::min(tokenizer_.size(), static_cast<int>(dims_.vocabulary));
    return e;
  }

  const distil::Options o_;
  const data::Tokenizer &tokenizer_;
  arch::Dims dims_;
  data::chat::Form form_;
  std::string name_;
  tensor::Arena arena_;
  tensor::Context ctx_;
  infer::LoadedWeights<A> weights_;
};

distil::Harvest from_checkpoint(const distil::Options &o, const reward::Rules &rules) {
  const auto reader = checkpoint::Reader::open(o.checkpoint);
  const bool bf16 = o.precision == distil::Precision::deck ? habits_of(reader).bf16
                                                           : o.precision == distil::Precision::bf16;
  const data::Tokenizer tokenizer = infer::load_tokenizer(reader);
  const KokkosSession kokkos;
  std::unique_ptr<distil::Teacher> teacher;
  if (bf16)
    teacher = std::make_unique<LocalTeacher<numerics::bf16>>(o, reader, tokenizer);
  else
    teacher = std::make_unique<LocalTeacher<float>>(o, reader, tokenizer);
  return distil::harvest(o, rules, *teacher, &tokenizer, say);
}

distil::Harvest from_url(const distil::Options &o, const reward::Rules &rules) {
  const auto teacher = distil::http_teacher(o);
  std::optional<data::Tokenizer> tokenizer;
  if (!o.tokenizer.empty()) tokenizer.emplace(data::Tokenizer::load(o.tokenizer));
  return distil::harvest(o, rules, *teacher, tokenizer ? &*tokenizer : nullptr, say);
}

int run_distil(const DistilArguments &a) {
  deck::Deck deck = open_deck(a.deck, a.overrides);
  const distil::Options options = distil::read_options(deck);
  const reward::Options rewards = reward::read_options(deck);
  reward::require_plain(rewards, deck.path());
  const reward::Rules rules(rewards);
  deck.finish();
  if (a.explain) {
    fmt::print("{}", deck.explain());
    return 0;
  }
  if (!options.url.empty()) (void)distil::address_of(options.url);
  if (a.check) {
    const auto problems = distil::read_problems(options);
    for (const distil::Problem &p : problems.all) rules.check_problem(p.fields, p.place);
    fmt::print("{}\n{} problems; the deck is valid\n", deck.echo(), problems.all.size());
    return 0;
  }
  const distil::Harvest harvest =
      options.url.empty() ? from_checkpoint(options, rules) : from_url(options, rules);
  fmt::print("{}", distil::table(harvest));
  std::fflush(stdout); // before the note on the other stream
  say(fmt::format("samples: {}", options.output));
  return 0;
}

} // namespace

void add_distil(CLI::App &program, Action &action) {
  CLI::App *command = program.add_subcommand(
      "distil", "ask a teacher the problems of a deck, make samples of its good answers");
  auto a = std::make_shared<DistilArguments>();
  command->add_option("DECK", a->deck, "the deck, with a table [distil]")->required();
  command->add_option("OVERRIDES", a->overrides, "table.key=value, any number");
  command->add_flag("--check", a->check, "read deck and problems; ask nothing");
  command->add_flag("--explain", a->explain, "print every key with default, range and meaning");
  command->callback([a, &action] { action = [a] { return run_distil(*a); }; });
}

} // namespace app
