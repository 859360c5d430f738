// SPDX-License-Identifier: Apache-2.0
// hadal generate CHECKPOINT --prompt TEXT: the model of a checkpoint goes on with a text, on standard output as it comes.
// --chat TEXT: it answers one turn of a user.
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/commands/commands.hpp"
#include "app/commands/habits.hpp"
#include "app/commands/prompt.hpp"
#include "app/kokkos_session.hpp"
#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/output_file.hpp"
#include "infer/engine.hpp"
#include "infer/load.hpp"

namespace app {
namespace {

struct GenerateArguments {
  std::string checkpoint, precision = "deck", logits;
  PromptArguments prompt;
  infer::SamplingOptions sampling;
  std::vector<std::string> stops;
  infer::Attention attention = infer::Attention::absorbed;
  bool no_stop = false;
};

void print(std::string_view bytes) {
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), stdout) == bytes.size();
  if (written && std::fflush(stdout) == 0) return;
  throw base::UserError(base::Exit::machine, "E075", "standard output", "cannot be written",
                        "The disk may be full, or the reader of the pipe has ended.");
}

// The logits behind every token of the prompt, decoded one by one: raw FP32, [tokens, vocabulary].
template <class A>
void write_logits(const GenerateArguments &a, const arch::Dims &dims,
                  const model::Weights<A> &weights, const std::vector<data::Token> &prompt) {
  const auto capacity = static_cast<tensor::Index>(prompt.size());
  tensor::Arena arena("logits", infer::Generator<A>::arena_bytes(dims, capacity, 1));
  tensor::Context ctx{tensor::Exec(), arena};
  infer::Generator<A> generator(dims, weights, capacity, 1, a.attention);
  base::OutputFile file(a.logits, base::Exit::machine, "E075");
  for (const data::Token token : prompt) {
    const auto &logits = generator.append(ctx, {token});
    file.write({reinterpret_cast<const char *>(logits.data()), logits.size() * sizeof(float)});
  }
  file.finish();
}

// One request alone.
infer::EngineOptions engine_options(const GenerateArguments &a, std::size_t prompt,
                                    int vocabulary) {
  infer::EngineOptions o;
  o.attention = a.attention, o.batch = 1, o.vocabulary = vocabulary;
  o.rows = std::min<tensor::Index>(static_cast<tensor::Index>(prompt), 4096);
  o.tokens = o.sequence = static_cast<tensor::Index>(prompt) + a.sampling.max_tokens;
  return o;
}

// The answer as it comes.
template <class A>
void answer(const GenerateArguments &a, const arch::Dims &dims, const model::Weights<A> &weights,
            const data::Tokenizer &tokenizer, const std::vector<data::Token> &prompt) {
  const auto options = engine_options(
      a, prompt.size(), std::min(tokenizer.size(), static_cast<int>(dims.vocabulary)));
  tensor::Arena arena("generate", infer::Engine<A>::arena_bytes(dims, options));
  tensor::Context ctx{tensor::Exec(), arena};
  infer::Engine<A> engine(dims, weights, options, &tokenizer);
  infer::Request request;
  request.prompt = prompt, request.sampling = a.sampling, request.stop_strings = a.stops;
  if (a.sampling.stop_at_eos) request.stop_tokens = {tokenizer.eos()};
  engine.add(request);
  const base::Stopwatch watch;
  double prompt_seconds = 0;
  std::int64_t spoken = 0;
  while (!engine.idle()) {
    for (const infer::Event &event : engine.step(ctx)) {
      if (spoken++ == 0) prompt_seconds = watch.seconds();
      print(event.text);
    }
  }
  print("\n");
  const double seconds = watch.seconds() - prompt_seconds;
  fmt::print(stderr, "{} tokens in {:.2f} s, {:.0f} tokens/s; prompt of {} in {:.2f} s", spoken,
             seconds, seconds > 0 ? static_cast<double>(spoken - 1) / seconds : 0.0, prompt.size(),
             prompt_seconds);
}

template <class A>
int speak(const GenerateArguments &a, const checkpoint::Reader &reader, const Habits &habits) {
  const data::Tokenizer tokenizer = infer::load_tokenizer(reader);
  const arch::Dims dims = infer::dims_of(reader);
  const auto prompt = prompt_tokens(a.prompt, tokenizer, reader, habits.masked, dims.vocabulary);
  tensor::Arena arena("load", std::size_t{1} << 20);
  tensor::Context ctx{tensor::Exec(), arena};
  const auto weights = infer::load_weights<A>(ctx, reader, dims);
  const auto length = static_cast<std::int64_t>(prompt.size()) + a.sampling.max_tokens;
  if (length > habits.sequence)
    fmt::print(stderr,
               "note: {} tokens with the prompt; the model was trained on sequences of {}\n",
               length, habits.sequence);
  if (a.prompt.kind == PromptArguments::Kind::text) print(a.prompt.text);
  if (!a.logits.empty()) write_logits<A>(a, dims, weights.views, prompt);
  if (a.sampling.max_tokens > 0)
    answer<A>(a, dims, weights.views, tokenizer, prompt);
  else
    print("\n"), fmt::print(stderr, "prompt of {}", prompt.size());
  fmt::print(stderr, "; step {}\n", reader.step());
  return 0;
}

int generate(GenerateArguments a) {
  a.sampling.stop_at_eos = !a.no_stop;
  const auto reader = checkpoint::Reader::open(a.checkpoint);
  const Habits h = habits_of(reader);
  const KokkosSession kokkos;
  const bool bf16 = a.precision == "deck" ? h.bf16 : a.precision == "bf16";
  return bf16 ? speak<numerics::bf16>(a, reader, h) : speak<float>(a, reader, h);
}

} // namespace

void add_generate(CLI::App &program, Action &action) {
  CLI::App *command =
      program.add_subcommand("generate", "go on with a text, by the model of a checkpoint");
  auto a = std::make_shared<GenerateArguments>();
  command->add_option("CHECKPOINT", a->checkpoint, "a step directory, or a run's (its newest)")
      ->required();
  PromptArguments &p = a->prompt;
  CLI::Option *prompt = command->add_option("--prompt", p.text, "the text to go on with");
  CLI::Option *chat = command->add_option("--chat", p.text, "a user's turn: print the answer");
  CLI::Option *tokens =
      command->add_option("--tokens", p.file, "a file of token ids in place of a text");
  prompt->excludes(chat)->excludes(tokens);
  chat->excludes(tokens);
  command
      ->add_option("--form", p.form,
                   "of chats, original or corrected; by default as the checkpoint's template says")
      ->needs(chat)
      ->check(CLI::IsMember({"original", "corrected"}));
  command->add_option(
      "--logits", a->logits,
      "write the logits behind each token of the prompt: FP32, [tokens, vocabulary]");
  command->add_option("--max-tokens", a->sampling.max_tokens, "tokens to generate at most")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 20));
  command->add_option("--temperature", a->sampling.temperature, "0: the most probable token always")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 100.0));
  command
      ->add_option("--top-p", a->sampling.top_p,
                   "the fewest most probable tokens that add up to this")
      ->capture_default_str()
      ->check(CLI::Range(1e-9, 1.0));
  command->add_option("--seed", a->sampling.seed, "another seed, another text")
      ->capture_default_str();
  command->add_option("--precision", a->precision, "f32 or bf16; deck: as in training")
      ->capture_default_str()
      ->check(CLI::IsMember({"deck", "f32", "bf16"}));
  command->add_option("--stop", a->stops, "end in front of this text; may be given several times");
  command
      ->add_option("--attention", a->attention,
                   "absorbed, or exact: the arithmetic of training, bit for bit")
      ->transform(CLI::CheckedTransformer(std::map<std::string, infer::Attention>{
          {"absorbed", infer::Attention::absorbed}, {"exact", infer::Attention::exact}}))
      ->option_text("absorbed|exact");
  command->add_flag("--no-stop", a->no_stop, "go on behind the end of a document");
  command->add_flag("--special", p.special, "the text of added tokens in the prompt is their ids");
  command->callback([a, prompt, chat, tokens, &action] {
    if (prompt->count() + chat->count() + tokens->count() == 0)
      throw CLI::RequiredError("--prompt, --chat or --tokens");
    if (chat->count() > 0) a->prompt.kind = PromptArguments::Kind::chat;
    if (tokens->count() > 0) a->prompt.kind = PromptArguments::Kind::tokens;
    action = [a] { return generate(*a); };
  });
}

} // namespace app
