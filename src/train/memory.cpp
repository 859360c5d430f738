// SPDX-License-Identifier: Apache-2.0
#include "train/memory.hpp"

#include <fmt/format.h>

#include "base/text.hpp"
#include "train/distil/teacher.hpp"
#include "train/exchange.hpp"
#include "train/grpo/models.hpp"
#include "train/grpo/rollouts.hpp"
#include "train/pipeline.hpp"

namespace train {

std::string memory_text(const Memory &memory) {
  const auto text = [](std::size_t bytes) {
    return base::text::bytes(static_cast<std::int64_t>(bytes));
  };
  return fmt::format("{} planned (state, gradients, arena; {} more to write checkpoints)",
                     text(memory.training()), text(memory.snapshot));
}

template <class A>
Memory planned_memory(const Options &o, const Ranks &ranks, const model::Layout &layout) {
  constexpr bool cut = !std::is_same_v<A, float>;
  const Ownership ownership(ranks, layout, cut);
  const auto owned = static_cast<std::size_t>(ownership.moments());
  std::vector<Buckets> buckets;
  for (const Chunk &chunk : ranks.chunks()) buckets.emplace_back(layout, chunk.part);
  Memory m;
  m.weights = sizeof(float) * static_cast<std::size_t>(ownership.masters());
  if (cut) m.copies = sizeof(A) * static_cast<std::size_t>(layout.size());
  m.moments = owned * 2 * (o.optimizer.moments == optim::MomentType::bf16 ? 2 : 4);
  if (o.average.beta > 0) m.average = sizeof(float) * owned;
  for (const Buckets &of_chunk : buckets) m.gradients += of_chunk.bytes(ranks.shards(o));
  m.exchange = Exchange::bytes(ranks, layout, ownership, buckets);
  m.activations = Pipeline<A>::slot_bytes(o, ranks);
  m.scratch = Pipeline<A>::scratch_bytes(o, ranks);
  if (o.run.phase == Phase::grpo) {
    m.rollouts = grpo::rollout_bytes<A>(o, ranks) + grpo::model_bytes<A>(o, ranks);
    if (o.grpo.beta > 0) m.rollouts += m.weights + m.copies;
  }
  if (o.teacher.on()) m.teacher = distil::teacher_bytes<A>(o, ranks);
  m.snapshot = sizeof(float) * owned + m.moments + m.average;
  return m;
}

template Memory planned_memory<float>(const Options &, const Ranks &, const model::Layout &);
template Memory planned_memory<numerics::bf16>(const Options &, const Ranks &,
                                               const model::Layout &);

} // namespace train
