// SPDX-License-Identifier: Apache-2.0
#include "eval/direct_model.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "layers/head_loss/head_loss.hpp"
#include "numerics/exp.hpp"

namespace eval {

using tensor::Arena, tensor::Context, tensor::Index, tensor::Mat, tensor::Vec;

namespace {

template <class T> Vec<T> to_device(const char *label, const std::vector<T> &host) {
  const Vec<T> device(Kokkos::view_alloc(Kokkos::WithoutInitializing, std::string(label)),
                      host.size());
  Kokkos::deep_copy(device, Kokkos::View<const T *, Kokkos::HostSpace>(host.data(), host.size()));
  return device;
}

// Sequences as segments of one stream.
struct Packed {
  model::Stream stream;
  std::vector<std::int32_t> token, position;
  std::vector<Index> start = {0};
  Packed(const std::vector<const std::vector<data::Token> *> &sequences) {
    for (const auto *sequence : sequences) {
      for (std::size_t i = 0; i < sequence->size(); ++i) {
        token.push_back((*sequence)[i]);
        position.push_back(static_cast<std::int32_t>(i));
      }
      start.push_back(static_cast<Index>(token.size()));
    }
    stream.samples = 1, stream.rows = static_cast<Index>(token.size());
    stream.token_T = to_device("eval::token_T", token);
    stream.segments.position_T = to_device("eval::position_T", position);
    stream.segments.start = to_device("eval::start", start);
    stream.segments.start_host =
        Kokkos::View<const Index *, Kokkos::HostSpace>(start.data(), start.size());
  }
};

// Bytes that a forward pass of T rows and a chunk of logits take: the same allocations, counted.
template <class A>
std::size_t arena_bytes(const model::Stage<A> &stage, const arch::Dims &dims, Index T,
                        Index wants) {
  Arena arena = Arena::counting("eval::direct_model");
  for (int array = 0; array < 3; ++array) arena.template mat<A>(T, dims.model);
  arena.template mat<A>(wants, dims.model);
  arena.template mat<float>(std::min(wants, layers::head_loss::kChunkRows), dims.vocabulary);
  for (int vector = 0; vector < 3; ++vector) arena.template vec<float>(wants);
  model::Stream stream;
  stream.samples = 1, stream.rows = T;
  std::size_t most = 0;
  for (const Index layer : {Index{0}, dims.layers - 1}) {
    const Arena::Scope scope(arena);
    const std::size_t before = arena.used();
    model::block::allocate<A>(arena, model::BlockEnv{dims, {}, {}, layer}, stream);
    most = std::max(most, arena.used() - before);
  }
  return arena.used() + most + stage.scratch_bytes() + (std::size_t{1} << 20);
}

// x[i] = rows[row[i]]
template <class A> void gather(Context &ctx, Mat<A> rows_TD, Vec<const Index> row_N, Mat<A> x_ND) {
  const Index D = rows_TD.extent(1);
  tensor::for_rows(
      ctx, "eval::direct_model::gather", x_ND.extent(0),
      KOKKOS_LAMBDA(const tensor::Row &row, const Index i) {
        const Index from = row_N(i);
        tensor::row_for(row, D, [&](const Index d) { x_ND(i, d) = rows_TD(from, d); });
      });
}

// log p of the target, as the head's loss has it, and whether no other token has a larger logit.
void judge_rows(Context &ctx, Mat<const float> l_RW, Vec<const std::int32_t> target_R,
                Vec<float> logp_R, Vec<std::int32_t> greedy_R) {
  const Index W = l_RW.extent(1);
  tensor::for_rows(
      ctx, "eval::direct_model::judge_rows", l_RW.extent(0),
      KOKKOS_LAMBDA(const tensor::Row &row, const Index r) {
        const float *l = &l_RW(r, 0);
        const float top = tensor::row_max(row, W, [&](const Index w) { return l[w]; });
        const float sum =
            tensor::row_sum(row, W, [&](const Index w) { return numerics::fast_exp(l[w] - top); });
        const float mine = l[target_R(r)];
        tensor::row_once(row, [&] {
          logp_R(r) = mine - (top + logf(sum));
          greedy_R(r) = mine >= top ? 1 : 0;
        });
      });
}

template <class T> Vec<T> part(const Vec<T> &v, Index first, Index rows) {
  return Vec<T>(v.data() + first, rows);
}

} // namespace

template <class A>
DirectModel<A>::DirectModel(const arch::Dims &dims, model::Weights<A> weights,
                            const data::Tokenizer &tokenizer, DirectOptions options)
    : dims_(dims), weights_(std::move(weights)), tokenizer_(tokenizer), options_(options) {
  dims_.mtp_depth = 0;
}

template <class A> void DirectModel<A>::run(const Pack &pack, std::vector<Likelihood> &results) {
  const Packed packed(pack.sequences);
  const Index T = packed.stream.rows, N = static_cast<Index>(pack.wants.size());
  std::vector<Index> rows;
  std::vector<std::int32_t> targets;
  for (const Want &want : pack.wants) rows.push_back(want.row), targets.push_back(want.target);
  const Vec<Index> row_N = to_device("eval::row_N", rows);
  const Vec<std::int32_t> target_N = to_device("eval::target_N", targets);
  const Vec<float> logp_N("eval::logp_N", N);
  const Vec<std::int32_t> greedy_N("eval::greedy_N", N);
  model::Stage<A> stage(dims_, {}, 1, T);
  Arena arena("eval::direct_model", arena_bytes(stage, dims_, T, N));
  Context ctx{tensor::Exec(), arena};
  const Mat<A> n_TD = stage.hidden(ctx, weights_, packed.stream);
  const Mat<A> x_ND = arena.template mat<A>(N, dims_.model);
  gather<A>(ctx, n_TD, row_N, x_ND);
  for (Index first = 0; first < N; first += layers::head_loss::kChunkRows) {
    const Arena::Scope scope(arena);
    const Index R = std::min(layers::head_loss::kChunkRows, N - first);
    const Mat<float> l_RW = arena.template mat<float>(R, dims_.vocabulary);
    numerics::linear<A, float>(ctx, "eval::direct_model::logits",
                               Mat<const A>(&x_ND(first, 0), R, dims_.model), weights_.head_WD,
                               l_RW);
    judge_rows(ctx, l_RW, part(Vec<const std::int32_t>(target_N), first, R), part(logp_N, first, R),
               part(greedy_N, first, R));
  }
  tensor::fence(ctx, "eval::log_likelihoods"); // reason: the host reads the results
  const auto logp = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), logp_N);
  const auto greedy = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), greedy_N);
  for (Index i = 0; i < N; ++i) {
    Likelihood &result = results[pack.wants[static_cast<std::size_t>(i)].request];
    result.sum += static_cast<double>(logp(i));
    result.greedy = result.greedy && greedy(i) != 0;
  }
}

template <class A>
std::vector<Likelihood> DirectModel<A>::log_likelihoods(const std::vector<Continuation> &requests) {
  std::vector<Likelihood> results(requests.size(), Likelihood{0, true});
  std::map<Tokens, std::vector<std::size_t>> sequences; // input tokens: who asks
  for (std::size_t r = 0; r < requests.size(); ++r) {
    const Continuation &one = requests[r];
    HADAL_CHECK(!one.context.empty() && !one.continuation.empty(), "request {}", r);
    Tokens input = one.context;
    input.insert(input.end(), one.continuation.begin(), one.continuation.end() - 1);
    sequences[std::move(input)].push_back(r);
  }
  Pack pack;
  for (const auto &[input, askers] : sequences) {
    const auto length = static_cast<Index>(input.size());
    if (pack.rows > 0 && pack.rows + length > options_.rows) {
      run(pack, results);
      pack = {};
    }
    for (const std::size_t r : askers) {
      const auto before = static_cast<Index>(requests[r].context.size());
      for (std::size_t i = 0; i < requests[r].continuation.size(); ++i)
        pack.wants.push_back(
            {r, pack.rows + before - 1 + static_cast<Index>(i), requests[r].continuation[i]});
    }
    pack.sequences.push_back(&input);
    pack.rows += length;
  }
  if (pack.rows > 0) run(pack, results);
  return results;
}

namespace {

// Where the first of the stops begins, or npos. from: nothing before it can begin a new one.
std::size_t stop_in(const std::string &text, std::size_t from,
                    const std::vector<std::string> &stops) {
  std::size_t first = std::string::npos;
  for (const std::string &stop : stops) {
    if (stop.empty()) continue;
    const std::size_t begin = from > stop.size() ? from - stop.size() : 0;
    first = std::min(first, text.find(stop, begin));
  }
  return first;
}

} // namespace

template <class A>
Generated DirectModel<A>::generate_one(Context &ctx, infer::Generator<A> &generator,
                                       const Prompt &prompt) const {
  infer::SamplingOptions sampling;
  sampling.temperature = prompt.temperature, sampling.top_p = prompt.top_p;
  sampling.seed = prompt.seed;
  const int vocabulary = std::min(tokenizer_.size(), static_cast<int>(dims_.vocabulary));
  generator.reset();
  const std::vector<float> *logits = &generator.append(ctx, prompt.tokens);
  infer::Utf8Stream characters;
  Generated out;
  while (out.tokens < prompt.max_tokens) {
    const data::Token token = infer::sample(*logits, sampling, generator.length(), vocabulary);
    ++out.tokens;
    if (token == tokenizer_.eos()) {
      out.ended = true;
      break;
    }
    const std::size_t before = out.text.size();
    out.text += characters.push(tokenizer_.token_bytes(token));
    if (const std::size_t stop = stop_in(out.text, before, prompt.stop);
        stop != std::string::npos) {
      out.text.resize(stop);
      out.ended = true;
      return out;
    }
    if (out.tokens < prompt.max_tokens) logits = &generator.append(ctx, {token});
  }
  out.text += characters.rest();
  return out;
}

template <class A>
std::vector<Generated> DirectModel<A>::generate(const std::vector<Prompt> &prompts) {
  Index capacity = 1, rows = 1;
  for (const Prompt &prompt : prompts) {
    const auto tokens = static_cast<Index>(prompt.tokens.size());
    capacity = std::max(capacity, tokens + prompt.max_tokens);
    rows = std::max(rows, tokens);
  }
  rows = std::min(rows, infer::Generator<A>::kRows);
  Arena arena("eval::generate", infer::Generator<A>::arena_bytes(dims_, capacity, rows));
  Context ctx{tensor::Exec(), arena};
  infer::Generator<A> generator(dims_, weights_, capacity, rows);
  std::vector<Generated> all;
  for (const Prompt &prompt : prompts) all.push_back(generate_one(ctx, generator, prompt));
  return all;
}

template class DirectModel<float>;
template class DirectModel<numerics::bf16>;

} // namespace eval
