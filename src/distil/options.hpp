// SPDX-License-Identifier: Apache-2.0
#pragma once
// The deck's tables [distil] and [[distil.source]] (docs/distil.md): who is asked what, and which answers become samples. What makes an
// answer right: [[reward]].
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "deck/deck.hpp"

namespace distil {

enum class Choose { shortest, best, first };
enum class Precision { deck, f32, bf16 };
enum class Existing { resume, replace };

struct SourceOptions {
  std::string name;
  std::vector<std::string> paths, include, exclude;
  template <class R> void keys(R &r) {
    r.required(name, "name", "short name of the source; stands in every sample made from it");
    r.required(paths, "paths",
               "JSONL files, folders (read recursively) and globs; a line is an object with prompt "
               "(a text) or messages, and the fields that the rewards read");
    r.key(include, "include",
          "file-name patterns that files from folders and globs must match; empty: *.jsonl");
    r.key(exclude, "exclude",
          "file-name patterns of files from folders and globs that are left out");
  }
};

struct Options {
  std::string directory, output, checkpoint, url, model, key_variable, tokenizer, chat, system;
  std::vector<std::string> forms, stop;
  std::vector<SourceOptions> sources;
  std::int64_t samples = 0, keep = 0, max_tokens = 0, seed = 0, batch = 0, cache = 0;
  std::int64_t concurrency = 0, a_minute = 0, retries = 0;
  double temperature = 0, top_p = 0, threshold = 0, backoff = 0, timeout = 0;
  Choose choose = Choose::shortest;
  Precision precision = Precision::deck;
  Existing existing = Existing::resume;

  template <class R> void keys(R &r) {
    r.key(directory, "directory", "",
          "journal and statistics; empty: checkpoints/NAME-OF-THE-DECK");
    r.key(output, "output", "",
          "the samples, JSONL for [[sft.source]]; empty: DIRECTORY/sft.jsonl");
    r.key(checkpoint, "checkpoint", "",
          "the teacher: a step directory, or a run's (its newest). Either this or url");
    r.key(url, "url", "",
          "the teacher: base of an OpenAI-compatible server, as http://host:port/v1");
    r.key(model, "model", "", "url: name of the model there");
    r.key(key_variable, "key_variable", "",
          "url: environment variable that holds the key; empty: no key is sent");
    r.key(
        tokenizer, "tokenizer", "",
        "url: tokenizer.json that counts tokens for lengths and rewards; empty: lengths are bytes");
    r.key(chat, "chat", "",
          "checkpoint: chat layout, original or corrected; empty: as its template says");
    r.template choice<Precision>(
        precision, "precision", Precision::deck,
        {{"deck", Precision::deck}, {"f32", Precision::f32}, {"bf16", Precision::bf16}},
        "checkpoint: of weights and activations; deck: as in its training");
    r.key(forms, "forms",
          "of samples: plain (problem, answer) and system (system prompt, problem, answer); "
          "empty: plain");
    r.key(system, "system", "", "the system prompt of the form system");
    r.key(samples, "samples", 4, 1, 1 << 16, "answers", "to each problem in each form");
    r.key(keep, "keep", 1, 1, 1 << 16, "answers", "to each problem in each form at most");
    r.template choice<Choose>(
        choose, "choose", Choose::shortest,
        {{"shortest", Choose::shortest}, {"best", Choose::best}, {"first", Choose::first}},
        "which of those that may be kept: the shortest, those with the highest reward, or the "
        "first");
    r.key(threshold, "threshold", -1e6, -1e6, 1e6, "",
          "an answer with a lower reward is not kept; nor is one that a judge finds wrong");
    r.key(temperature, "temperature", 1.0, 0.0, 100.0, "", "of the sampling");
    r.key(top_p, "top_p", 1.0, 0.01, 1.0, "", "of the sampling");
    r.key(max_tokens, "max_tokens", 1024, 1, 1 << 20, "tokens",
          "of an answer; one that has not ended by then is not kept");
    r.key(seed, "seed", 1, 0, std::int64_t{1} << 40, "", "of the sampling");
    r.key(stop, "stop", "texts behind which an answer ends, beside the end of its turn");
    r.key(batch, "batch", 64, 1, 1 << 16, "sequences", "checkpoint: answers sampled at once");
    r.key(cache, "cache", 65536, 64, std::int64_t{1} << 40, "tokens",
          "checkpoint: tokens that the latent cache holds; more when one answer needs more");
    r.key(concurrency, "concurrency", 4, 1, 256, "requests", "url: under way at once");
    r.key(a_minute, "requests_a_minute", 0, 0, 1 << 20, "requests",
          "url: started a minute at most, repeated ones included; 0: no limit");
    r.key(retries, "retries", 6, 0, 100, "",
          "url: how often one request is repeated after 408, 429, 5xx, a time-out, a closed "
          "connection or an answer that is no JSON");
    r.duration(
        backoff, "backoff", 1.0, 0.001, 3600.0,
        "url: wait before the first repetition; twice as long before each further one, up to "
        "a minute, or as long as the server's Retry-After says");
    r.duration(timeout, "timeout", 600.0, 0.05, 86400.0, "url: of one request");
    r.template choice<Existing>(
        existing, "existing", Existing::resume,
        {{"resume", Existing::resume}, {"replace", Existing::replace}},
        "answers in the directory's journal are taken as they are, or thrown away");
  }
};

// Error E370: keys that contradict each other or lack something.
Options read_options(deck::Deck &deck);
std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> declared_keys();

} // namespace distil
