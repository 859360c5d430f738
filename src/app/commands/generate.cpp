// SPDX-License-Identifier: Apache-2.0
// hadal generate CHECKPOINT --prompt TEXT: the model of a checkpoint goes on with a text, on standard output as it comes.
// --chat TEXT: it answers one turn of a user.
#include <algorithm>
#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/commands/commands.hpp"
#include "app/commands/prompt.hpp"
#include "app/kokkos_session.hpp"
#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/output_file.hpp"
#include "infer/generator.hpp"
#include "infer/load.hpp"
#include "train/options.hpp"

namespace app {
namespace {

struct GenerateArguments {
  std::string checkpoint, precision = "deck", logits;
  PromptArguments prompt;
  infer::SamplingOptions sampling;
  bool no_stop = false;
};

void print(std::string_view bytes) {
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), stdout) == bytes.size();
  if (written && std::fflush(stdout) == 0) return;
  throw base::UserError(base::Exit::machine, "E075", "standard output", "cannot be written",
                        "The disk may be full, or the reader of the pipe has ended.");
}

// What the deck of the checkpoint says of how documents were seen in training, and in which dtype.
struct Habits {
  bool bf16 = false, masked = false;
  std::int64_t sequence = 0;
};
Habits habits(const checkpoint::Reader &reader) {
  deck::Deck deck = deck::Deck::parse(reader.deck(), reader.directory().string() + ": deck");
  train::PrecisionTable precision;
  train::BatchTable batch;
  data::Options data;
  deck.read_table("precision", precision);
  deck.read_table("batch", batch);
  deck.read_table("data", data);
  return {precision.compute == train::Compute::bf16, data.mask_documents, batch.sequence};
}

// The logits behind every token of the prompt, decoded one by one: raw FP32, [tokens, vocabulary].
template <class A>
const std::vector<float> *write_logits(tensor::Context &ctx, infer::Generator<A> &generator,
                                       const std::vector<data::Token> &prompt,
                                       const std::string &path) {
  base::OutputFile file(path, base::Exit::machine, "E075");
  const std::vector<float> *logits = nullptr;
  for (const data::Token token : prompt) {
    logits = &generator.append(ctx, {token});
    file.write({reinterpret_cast<const char *>(logits->data()), logits->size() * sizeof(float)});
  }
  file.finish();
  return logits;
}

template <class A>
int speak(const GenerateArguments &a, const checkpoint::Reader &reader, const Habits &habits) {
  const data::Tokenizer tokenizer = infer::load_tokenizer(reader);
  const arch::Dims dims = infer::dims_of(reader);
  const auto prompt = prompt_tokens(a.prompt, tokenizer, reader, habits.masked, dims.vocabulary);
  const auto capacity = static_cast<tensor::Index>(prompt.size()) + a.sampling.max_tokens;
  const tensor::Index rows = std::min<tensor::Index>(prompt.size(), infer::Generator<A>::kRows);
  tensor::Arena arena("generate", infer::Generator<A>::arena_bytes(dims, capacity, rows));
  tensor::Context ctx{tensor::Exec(), arena};
  const auto weights = infer::load_weights<A>(ctx, reader, dims);
  infer::Generator<A> generator(dims, weights.views, capacity, rows);
  if (capacity > habits.sequence)
    fmt::print(stderr,
               "note: {} tokens with the prompt; the model was trained on sequences of {}\n",
               capacity, habits.sequence);
  if (a.prompt.kind == PromptArguments::Kind::text) print(a.prompt.text);
  const int vocabulary = std::min(tokenizer.size(), static_cast<int>(dims.vocabulary));
  infer::Utf8Stream characters;
  const base::Stopwatch watch;
  const std::vector<float> *logits = a.logits.empty()
                                         ? &generator.append(ctx, prompt)
                                         : write_logits(ctx, generator, prompt, a.logits);
  const double prompt_seconds = watch.seconds();
  std::int64_t spoken = 0;
  while (spoken < a.sampling.max_tokens) {
    const data::Token token = infer::sample(*logits, a.sampling, generator.length(), vocabulary);
    ++spoken;
    if (token == tokenizer.eos() && a.sampling.stop_at_eos) break;
    print(characters.push(tokenizer.token_bytes(token)));
    if (spoken < a.sampling.max_tokens) logits = &generator.append(ctx, {token});
  }
  print(characters.rest() + "\n");
  fmt::print(stderr, "{} tokens in {:.2f} s, {:.0f} tokens/s; prompt of {} in {:.2f} s; step {}\n",
             spoken, watch.seconds() - prompt_seconds,
             static_cast<double>(spoken) / (watch.seconds() - prompt_seconds), prompt.size(),
             prompt_seconds, reader.step());
  return 0;
}

int generate(GenerateArguments a) {
  a.sampling.stop_at_eos = !a.no_stop;
  const auto reader = checkpoint::Reader::open(a.checkpoint);
  const Habits h = habits(reader);
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
