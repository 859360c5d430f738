// SPDX-License-Identifier: Apache-2.0
#include "infer/draw.hpp"

#include <algorithm>
#include <exception>

namespace infer {

namespace {

Drawn draw(const Draw &d, const Logits &logits, const int vocabulary) {
  const auto W = static_cast<std::size_t>(logits.logit_RW.extent(1));
  const std::span<const float> row(&logits.logit_RW(d.row, 0), W);
  const data::Token token =
      d.scored >= 0 ? d.scored : sample(row, d.sampling, d.position, vocabulary, d.stream);
  const float logit = row[static_cast<std::size_t>(token)];
  return {d.of, d.scored >= 0, token, logit - logits.lse_R[static_cast<std::size_t>(d.row)],
          logit >= *std::max_element(row.begin(), row.end())};
}

} // namespace

void draw_all(const std::vector<Draw> &draws, const Logits &logits, const int vocabulary,
              std::vector<Drawn> &drawn) {
  const std::size_t before = drawn.size();
  drawn.resize(before + draws.size());
  std::vector<std::exception_ptr> faults(draws.size()); // none may leave a parallel region
  Drawn *to = drawn.data() + before;
  Kokkos::parallel_for(
      "infer::draw_all",
      Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace, Kokkos::IndexType<Index>>(
          0, static_cast<Index>(draws.size())),
      [&](const Index i) {
        const auto d = static_cast<std::size_t>(i);
        try {
          to[d] = draw(draws[d], logits, vocabulary);
        } catch (...) {
          faults[d] = std::current_exception();
        }
      });
  for (const std::exception_ptr &fault : faults)
    if (fault) std::rethrow_exception(fault);
}

} // namespace infer
