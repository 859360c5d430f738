// SPDX-License-Identifier: Apache-2.0
// Tiles by oneDNN. A primitive is compiled for its shape and for one thread, kept in a bounded table and shared by all threads:
// its scratchpad is therefore the caller's (with the library's own, a primitive belongs to the thread that made it).
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include <dnnl.hpp>
#include <omp.h>

#include "numerics/tile.hpp"

namespace numerics::onednn {

namespace {

constexpr std::size_t kMaxPrimitives = 4096; // of 0.1 to 0.3 MB each

// oneDNN takes the number of threads from OpenMP when it compiles and when it runs.
class OneThread {
public:
  OneThread() : before_(omp_get_max_threads()) {
    if (before_ != 1) omp_set_num_threads(1);
  }
  ~OneThread() {
    if (before_ != 1) omp_set_num_threads(before_);
  }
  OneThread(const OneThread &) = delete;

private:
  int before_;
};

struct Compiled {
  dnnl::matmul::primitive_desc description;
  dnnl::matmul primitive;
  dnnl::memory::desc a, b, c, scratch;
};

struct Hash {
  std::size_t operator()(const TileShape &s) const {
    std::size_t h = static_cast<std::size_t>(s.form);
    for (const Index v :
         {Index(s.in_bf16) + 2 * Index(s.out_bf16) + 4 * Index(s.accumulate), s.m, s.n, s.k})
      h = (h ^ static_cast<std::size_t>(v)) * 0x9E3779B97F4A7C15ULL, h ^= h >> 29;
    return h;
  }
};

const dnnl::engine &cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

std::shared_ptr<const Compiled> compile(const TileShape &s) {
  using dnnl::memory;
  const auto type = [](bool is_bf16) {
    return is_bf16 ? memory::data_type::bf16 : memory::data_type::f32;
  };
  const auto a_order =
      s.form == Form::backward_weight ? memory::format_tag::ba : memory::format_tag::ab;
  const auto b_order = s.form == Form::linear ? memory::format_tag::ba : memory::format_tag::ab;
  const memory::desc a({s.m, s.k}, type(s.in_bf16), a_order);
  const memory::desc b({s.k, s.n}, type(s.in_bf16), b_order);
  const memory::desc c({s.m, s.n}, type(s.out_bf16), memory::format_tag::ab);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (s.accumulate) {
    dnnl::post_ops add_to_c;
    add_to_c.append_sum(1.0F);
    attributes.set_post_ops(add_to_c);
  }
  const OneThread one;
  const dnnl::matmul::primitive_desc description({a, b, c}, attributes, cpu());
  return std::make_shared<Compiled>(
      Compiled{description, dnnl::matmul(description), a, b, c, description.scratchpad_desc()});
}

std::shared_ptr<const Compiled> find_or_compile(const TileShape &shape) {
  static std::shared_mutex lock;
  static std::unordered_map<TileShape, std::shared_ptr<const Compiled>, Hash> table;
  {
    const std::shared_lock reading(lock);
    const auto found = table.find(shape);
    if (found != table.end()) return found->second;
  }
  auto made = compile(shape); // two threads may both do it; one wins
  const std::unique_lock writing(lock);
  if (table.size() >= kMaxPrimitives) table.clear(); // those in use live on in their users
  return table.try_emplace(shape, std::move(made)).first->second;
}

} // namespace

bool keeps_rows(bool bf16) {
  const auto probe = [](bool is_bf16) {
    try {
      const auto made = compile({Form::linear, is_bf16, is_bf16, false, 64, 64, 64});
      return std::string(made->description.impl_info_str()).starts_with("brg:");
    } catch (const dnnl::error &) {
      return false;
    }
  };
  static const bool in_float = probe(false), in_bf16 = probe(true);
  return bf16 ? in_bf16 : in_float;
}

void compute(const Tile &tile) {
  using dnnl::memory;
  thread_local dnnl::stream stream(cpu());
  const OneThread one;
  const auto found = find_or_compile(tile.shape);
  const Compiled &p = *found;
  memory a(p.a, cpu(),
           const_cast<void *>(tile.a)); // NOLINT: the library has one type for inputs and outputs
  memory b(p.b, cpu(), const_cast<void *>(tile.b)); // NOLINT
  memory c(p.c, cpu(), tile.c);
  memory scratch(p.scratch, cpu(), thread_memory(Slot::library, p.scratch.get_size()));
  p.primitive.execute(stream, {{DNNL_ARG_SRC, a},
                               {DNNL_ARG_WEIGHTS, b},
                               {DNNL_ARG_DST, c},
                               {DNNL_ARG_SCRATCHPAD, scratch}});
  stream.wait();
}

std::string body_name(const TileShape &shape) {
  return find_or_compile(shape)->description.impl_info_str();
}

} // namespace numerics::onednn
