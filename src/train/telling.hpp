// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a run says of itself: at its beginning, a row a step, at its end.
#include "train/history.hpp"
#include "train/reading.hpp"
#include "train/step.hpp"

namespace train {

struct Launch;

// Rank 0: echo.txt and deck.toml of the run directory, the model, the ranks, the data.
void tell_beginning(const Options &options, const Launch &launch, const Ranks &ranks,
                    const Reading &reading);
// Rates of a step: flops_per_token of the model, peak of all ranks' matrix products, FLOP/s.
struct Speed {
  double flops_per_token = 0, peak = 1;
};
Row row_of(const Options &options, const Counters &counters, const StepReport &report,
           double seconds, const Speed &speed);
// Columns of the phase, beside those of its rounds, and their values; NaN where there is none.
MoreColumns columns_of(const Options &o);
std::vector<double> values_of(const Options &o, const StepReport &report);
std::string remark_of(const Options &o, const StepReport &report); // for the console
// A sum of the objective for each of what its first counts.
double share(const std::vector<double> &extra, std::size_t sum);

void write_loads(History &history, const Options &options, std::int64_t step,
                 const StepReport &report);
// Messages of all ranks, by axis, operation and class of link; together.
void tell_traffic(const Ranks &ranks);

} // namespace train
