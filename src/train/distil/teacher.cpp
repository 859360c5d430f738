// SPDX-License-Identifier: Apache-2.0
#include "train/distil/teacher.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/log.hpp"
#include "train/continuing.hpp"

namespace train::distil {
namespace {

using base::Exit, base::UserError;
using tensor::Index;

constexpr const char *kWhere = "[teacher] checkpoint";

// As the run's, of the teacher's experts.
layers::dispatch::Group experts_of(const train::Options &o, const Ranks &ranks) {
  train::Options of_teacher = o;
  of_teacher.dims = o.teacher.dims;
  return ranks.expert_group(of_teacher);
}

template <class A> model::Stage<A> stage_of(const train::Options &o, const Ranks &ranks) {
  model::Stage<A> stage(o.teacher.dims, {}, o.batch.micro_batch, o.batch.sequence);
  stage.set_expert_group(experts_of(o, ranks));
  return stage;
}

model::Share share_of(const train::Options &o, const Ranks &ranks) {
  const auto &place = ranks.mesh().place;
  return {{model::Part::whole(o.teacher.dims)}, place.ep, place.ep_rank};
}

// Scratch of the pass, and what is told of a micro-batch.
template <class A> std::size_t scratch_bytes(const train::Options &o, const Ranks &ranks) {
  const auto told =
      static_cast<std::size_t>(o.batch.micro_batch * o.batch.sequence * o.teacher.top_k);
  return stage_of<A>(o, ranks).scratch_bytes() + told * (sizeof(std::int32_t) + sizeof(float)) +
         2 * tensor::Arena::kAlignment;
}
// What other ranks send to this one's experts.
template <class A> std::size_t visitors_bytes(const train::Options &o, const Ranks &ranks) {
  return experts_of(o, ranks).ep ? stage_of<A>(o, ranks).tape_bytes(false)
                                 : tensor::Arena::kAlignment;
}

template <class A>
infer::LoadedWeights<A> load(tensor::Context &ctx, const train::Options &o, const Ranks &ranks,
                             const std::string &tokenizer_hash) {
  const auto reader = checkpoint::Reader::open_verified(o.teacher.directory);
  const auto theirs = reader.manifest()
                          .value("info", nlohmann::json::object())
                          .value("tokenizer", std::string("not known"));
  if (theirs != tokenizer_hash)
    throw UserError(Exit::checkpoint, "E393", o.teacher.directory,
                    fmt::format("its tokenizer is {}, that of this run {}", theirs, tokenizer_hash),
                    "A student learns the teacher's probabilities of tokens: train both with one "
                    "tokenizer.");
  if (ranks.first())
    base::log::info("teacher {} (step {}): its {} most likely tokens, tau {}, weight {}",
                    o.teacher.directory, reader.step(), o.teacher.top_k, o.teacher.temperature,
                    o.teacher.weight);
  return infer::load_weights<A>(ctx, reader, o.teacher.dims, share_of(o, ranks));
}

} // namespace

train::Options with_teacher(train::Options o, comm::Communicator &world) {
  if (!o.teacher.on()) return o;
  const auto reader = together(
      world, [&] { return std::optional(checkpoint::Reader::open(o.teacher.checkpoint)); });
  o.teacher.directory = reader->directory().string();
  o.teacher.hash = reader->state_hash();
  o.teacher.dims = infer::dims_of(*reader);
  const arch::Dims &dims = o.teacher.dims;
  if (dims.head != arch::Head::language)
    throw UserError(Exit::checkpoint, "E392", kWhere,
                    o.teacher.directory + ": a reward model, which has no probabilities of tokens",
                    "name a model with a language head");
  if (dims.vocabulary != o.dims.vocabulary)
    throw UserError(Exit::checkpoint, "E392", kWhere,
                    fmt::format("{}: vocabulary = {}, and the student's is {}", o.teacher.directory,
                                dims.vocabulary, o.dims.vocabulary),
                    "a student has the teacher's vocabulary");
  if (dims.moe() && dims.experts % o.parallel.ep != 0)
    throw UserError(Exit::deck, "E014", kWhere, fmt::format("{} routed experts", dims.experts),
                    fmt::format("parallel.ep = {} cannot share them evenly", o.parallel.ep));
  return o;
}

template <class A> std::size_t teacher_bytes(const train::Options &o, const Ranks &ranks) {
  const auto values =
      static_cast<std::size_t>(model::Layout(o.teacher.dims, share_of(o, ranks)).size());
  const std::size_t each = std::is_same_v<A, float> ? sizeof(float) : sizeof(float) + sizeof(A);
  return values * each + scratch_bytes<A>(o, ranks) + visitors_bytes<A>(o, ranks);
}

template <class A>
Teacher<A>::Teacher(const train::Options &options, const Ranks &ranks,
                    const std::string &tokenizer_hash)
    : o_(options), stage_(stage_of<A>(options, ranks)),
      buffers_(options.batch.micro_batch, options.batch.sequence, 0),
      arena_("train::distil", scratch_bytes<A>(options, ranks)),
      visitors_("train::distil::visitors", visitors_bytes<A>(options, ranks)), ctx_{tensor::Exec(),
                                                                                    arena_},
      weights_(load<A>(ctx_, options, ranks, tokenizer_hash)) {}

template <class A> void Teacher<A>::tell(std::vector<data::Sample> &samples) {
  const auto per = static_cast<std::size_t>(o_.batch.micro_batch),
             K = static_cast<std::size_t>(o_.teacher.top_k),
             of_sample = static_cast<std::size_t>(o_.batch.sequence) * K;
  HADAL_CHECK(samples.size() % per == 0, "{} samples in micro-batches of {}", samples.size(), per);
  for (std::size_t first = 0; first < samples.size(); first += per) {
    std::vector<model::HostSample> views;
    for (std::size_t s = 0; s < per; ++s)
      views.push_back({samples[first + s].tokens, samples[first + s].segments});
    const auto taught = stage_.teach(ctx_, visitors_, weights_.views, buffers_.load(ctx_, views),
                                     static_cast<float>(o_.teacher.temperature), o_.teacher.top_k);
    for (std::size_t s = 0; s < per; ++s) {
      data::Sample &sample = samples[first + s];
      sample.teacher_ids.assign(K, -1); // the first token is no target; row i is about token i + 1
      sample.teacher_logp.assign(K, 0.0F);
      const auto at = static_cast<std::ptrdiff_t>(s * of_sample),
                 end = at + static_cast<std::ptrdiff_t>(of_sample);
      sample.teacher_ids.insert(sample.teacher_ids.end(), taught.id_TK.begin() + at,
                                taught.id_TK.begin() + end);
      sample.teacher_logp.insert(sample.teacher_logp.end(), taught.logp_TK.begin() + at,
                                 taught.logp_TK.begin() + end);
    }
  }
}

template std::size_t teacher_bytes<float>(const train::Options &, const Ranks &);
template std::size_t teacher_bytes<numerics::bf16>(const train::Options &, const Ranks &);
template class Teacher<float>;
template class Teacher<numerics::bf16>;

} // namespace train::distil
