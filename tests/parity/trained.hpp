// SPDX-License-Identifier: Apache-2.0
#pragma once
// An imported model as the trainer holds it, and its gradients beside those of another program.
#include "tests/gradient/model/problem.hpp"
#include "tests/parity/golden.hpp"

namespace parity {

using Tokens = std::vector<data::Token>;

constexpr double kGradient = 1e-4, kLoss = 1e-6;

inline std::vector<Tokens> tokens_of(const Tensors &expected) {
  const Values ids = expected.at("ids");
  const auto &shape = expected.shape("ids");
  std::vector<Tokens> sequences(static_cast<std::size_t>(shape[0]));
  for (std::size_t i = 0; i < ids.size(); ++i)
    sequences[i / static_cast<std::size_t>(shape[1])].push_back(static_cast<data::Token>(ids[i]));
  return sequences;
}

// The model of the checkpoint as the trainer holds it.
inline model_test::Problem problem(const arch::Dims &dims, const std::vector<Tokens> &sequences) {
  model_test::Problem p;
  p.dims = dims;
  for (const Tokens &tokens : sequences)
    p.samples.push_back({std::vector<std::int32_t>(tokens.begin(), tokens.end()), {0}});
  p.scales.main = 1.0 / static_cast<double>(sequences.size() * (sequences[0].size() - 1));
  p.scales.balance = p.scales.alpha = 0;
  return p;
}

inline model_test::Reference weights_of(const checkpoint::Reader &reader, const arch::Dims &dims) {
  model_test::Reference values;
  for (const auto &spec : arch::registry(dims)) {
    std::vector<float> data(static_cast<std::size_t>(spec.size()));
    checkpoint::Item item;
    item.name = spec.name, item.shape = spec.shape, item.data = data.data();
    reader.read("weights", {item}, false);
    values[spec.name] = Values(data.begin(), data.end());
  }
  return values;
}

struct Gradients {
  std::size_t compared = 0;
  double error = 0; // the largest relative norm of a difference
  std::string name;
};

// Every parameter under its external name, experts one by one.
inline Gradients compare_gradients(const model_test::Program<float> &program,
                                   const arch::Dims &dims, const Tensors &expected,
                                   const double bound) {
  const auto registry = arch::registry(dims);
  std::map<std::string, Values> gradients;
  Gradients worst;
  for (const auto &[name, place] : places(registry)) {
    if (!place.spec->trained()) continue;
    auto &whole = gradients[place.spec->name];
    if (whole.empty()) whole = program.gradient(place.spec->name);
    const Values theirs = expected.at("grad." + name);
    const double error = support::relative_error(slice(whole, place.first, place.count), theirs);
    EXPECT_GT(support::norm(theirs), 0.0) << name << ": a gradient of zero proves nothing";
    EXPECT_LE(error, bound) << name;
    if (error >= worst.error) worst.error = error, worst.name = name;
    ++worst.compared;
  }
  EXPECT_EQ(worst.compared, expected.names("grad.").size()); // none of theirs is left over
  return worst;
}

} // namespace parity
