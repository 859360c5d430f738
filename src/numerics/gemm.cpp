// SPDX-License-Identifier: Apache-2.0
// The products: check shapes, cut, launch. What a tile does is in tile.cpp; how shapes are cut is in cut.hpp.
#include "numerics/gemm.hpp"

#include <cstring>
#include <vector>

#include "numerics/cut.hpp"
#include "numerics/tile.hpp"
#include "tensor/launch.hpp"

namespace numerics {

namespace {

template <class T> constexpr bool is_bf16 = std::is_same_v<T, bf16>;

// f(i) for every task. The oneDNN body computes a task on one thread; Kokkos Kernels brings its own parallel loops.
template <class F> void launch(Context &ctx, const char *label, Index tasks, const F &f) {
  static_assert(tensor::kOnHost, "products on a device are launched by numerics/cuda");
  if (gemm_body() == GemmBody::kokkos) {
    Kokkos::Profiling::pushRegion(label);
    for (Index i = 0; i < tasks; ++i) f(i);
    Kokkos::Profiling::popRegion();
    ctx.poll();
  } else {
    tensor::for_tasks(ctx, label, tasks, [=](const tensor::Row &, Index i) { f(i); });
  }
}

// Experts' rows, cut; borrowed while the launch runs.
struct GroupTask {
  Index expert, begin, size;
};

struct Extents {
  Index rows, n, k; // of the whole product
};

template <class A, class Y>
void count(Context &ctx, const char *label, const Extents &e, Index matrices, bool reads_output) {
  const double rows = double(e.rows), n = double(e.n), k = double(e.k);
  ctx.count(label, 2 * rows * n * k,
            (rows * k + double(matrices) * n * k) * sizeof(A) +
                (reads_output ? 2 : 1) * rows * n * sizeof(Y));
}

template <class View> void check_packed(const char *label, const View &v, const char *name) {
  HADAL_CHECK(v.span_is_contiguous(), "{}: {} is not packed", label, name);
}

void check_equal(const char *label, const char *what, std::size_t a, std::size_t b) {
  HADAL_CHECK(a == b, "{}: {} differ: {} and {}", label, what, a, b);
}

void check_offsets(const char *label, std::span<const Index> offsets, std::size_t experts,
                   std::size_t rows) {
  check_equal(label, "experts + 1 and offsets", experts + 1, offsets.size());
  HADAL_CHECK(offsets.front() == 0, "{}: the first offset is {}", label, offsets.front());
  for (std::size_t e = 0; e < experts; ++e)
    HADAL_CHECK(offsets[e] <= offsets[e + 1], "{}: offsets {} > {} of expert {}", label, offsets[e],
                offsets[e + 1], e);
  HADAL_CHECK(offsets.back() <= static_cast<Index>(rows), "{}: last offset {} of {} rows", label,
              offsets.back(), rows);
}

// Rows of x (packed, k wide) times one matrix: the two row-wise forms.
template <class A, class Y>
void rowwise(Context &ctx, const char *label, Form form, const Extents &e, const A *x, const A *w,
             Y *y, bool accumulate) {
  const Index n = e.n, k = e.k;
  if (e.rows == 1 && form == Form::linear) { // generating: the time is that of reading w
    const PanelCut columns = cut_columns(n);
    launch(ctx, label, columns.count(), [=](Index i) {
      const Piece p = columns[i];
      compute({{form, is_bf16<A>, is_bf16<Y>, accumulate, 1, p.size, k},
               x,
               w + p.begin * k,
               y + p.begin});
    });
    return count<A, Y>(ctx, label, e, 1, accumulate);
  }
  const RowCut cut = cut_rows(e.rows);
  launch(ctx, label, cut.count(), [=](Index i) {
    const Piece p = cut[i];
    compute({{form, is_bf16<A>, is_bf16<Y>, accumulate, p.size, n, k},
             x + p.begin * k,
             w,
             y + p.begin * n});
  });
  count<A, Y>(ctx, label, e, 1, accumulate);
}

template <class A, class Y>
void grouped_rowwise(Context &ctx, const char *label, Form form, std::span<const Index> offsets,
                     Index n, Index k, const A *x, const A *w, Y *y, bool accumulate) {
  std::vector<GroupTask> tasks;
  Index used = 0;
  for (std::size_t e = 0; e + 1 < offsets.size(); ++e) {
    const RowCut cut = cut_group_rows(offsets[e + 1] - offsets[e]);
    for (Index i = 0; i < cut.count(); ++i)
      tasks.push_back({static_cast<Index>(e), offsets[e] + cut[i].begin, cut[i].size});
    if (cut.count() > 0) ++used;
  }
  const GroupTask *list = tasks.data(); // host launches end before they return
  launch(ctx, label, static_cast<Index>(tasks.size()), [=](Index i) {
    const GroupTask t = list[i];
    compute({{form, is_bf16<A>, is_bf16<Y>, accumulate, t.size, n, k},
             x + t.begin * k,
             w + t.expert * n * k,
             y + t.begin * n});
  });
  count<A, Y>(ctx, label, {offsets.back() - offsets.front(), n, k}, used, accumulate);
}

// `rows` rows of `width` values, a column range of an array `stride` wide, packed into this thread's memory and followed by
// rows of zeros up to `filled`. An array that is already as wanted is used where it lies.
template <class A>
const A *packed(const A *from, Index rows, Index filled, Index width, Index stride, Slot slot) {
  if (width == stride && rows == filled) return from;
  auto *to =
      static_cast<A *>(thread_memory(slot, static_cast<std::size_t>(filled * width) * sizeof(A)));
  for (Index r = 0; r < rows; ++r)
    std::memcpy(to + r * width, from + r * stride, static_cast<std::size_t>(width) * sizeof(A));
  std::memset(static_cast<void *>(to + rows * width), 0,
              static_cast<std::size_t>((filled - rows) * width) * sizeof(A));
  return to;
}

// One panel of dw, rows o .. o + height: all tokens in chunks, in order, each added to dw.
template <class A>
void weight_panel(const A *dy, const A *x, float *dw, Index tokens, Index O, Index I, Piece panel) {
  const Chunks chunks(tokens, is_bf16<A> ? 32 : 16); // bf16 bodies take 32 tokens at a time
  const auto add = [&](Index from, Index rows, Index filled) {
    if (rows == 0) return;
    const A *a = packed(dy + from * O + panel.begin, rows, filled, panel.size, O, Slot::pack_a);
    const A *b = packed(x + from * I, rows, filled, I, I, Slot::pack_b);
    compute({{Form::backward_weight, is_bf16<A>, false, true, panel.size, I, filled},
             a,
             b,
             dw + panel.begin * I});
  };
  for (Index c = 0; c < chunks.whole; ++c) add(c * kChunk, kChunk, kChunk);
  add(chunks.whole * kChunk, chunks.rest, chunks.rest);
  add(chunks.whole * kChunk + chunks.rest, chunks.tail, chunks.tail_filled);
}

} // namespace

template <class A, class Y>
void linear(Context &ctx, const char *label, Mat<const A> x_TI, Mat<const A> w_OI, Mat<Y> y_TO) {
  check_packed(label, x_TI, "x"), check_packed(label, w_OI, "w"), check_packed(label, y_TO, "y");
  check_equal(label, "tokens of x and y", x_TI.extent(0), y_TO.extent(0));
  check_equal(label, "inputs of x and w", x_TI.extent(1), w_OI.extent(1));
  check_equal(label, "outputs of w and y", w_OI.extent(0), y_TO.extent(1));
  const Extents e{Index(x_TI.extent(0)), Index(w_OI.extent(0)), Index(w_OI.extent(1))};
  rowwise(ctx, label, Form::linear, e, x_TI.data(), w_OI.data(), y_TO.data(), false);
}

template <class A>
void linear_backward_input(Context &ctx, const char *label, Mat<const A> dy_TO, Mat<const A> w_OI,
                           Mat<A> dx_TI, bool accumulate) {
  check_packed(label, dy_TO, "dy"), check_packed(label, w_OI, "w"),
      check_packed(label, dx_TI, "dx");
  check_equal(label, "tokens of dy and dx", dy_TO.extent(0), dx_TI.extent(0));
  check_equal(label, "outputs of dy and w", dy_TO.extent(1), w_OI.extent(0));
  check_equal(label, "inputs of w and dx", w_OI.extent(1), dx_TI.extent(1));
  const Extents e{Index(dy_TO.extent(0)), Index(w_OI.extent(1)), Index(w_OI.extent(0))};
  rowwise(ctx, label, Form::backward_input, e, dy_TO.data(), w_OI.data(), dx_TI.data(), accumulate);
}

template <class A>
void linear_backward_weight(Context &ctx, const char *label, Mat<const A> dy_TO, Mat<const A> x_TI,
                            Mat<float> dw_OI_acc) {
  check_packed(label, dy_TO, "dy"), check_packed(label, x_TI, "x"),
      check_packed(label, dw_OI_acc, "dw");
  check_equal(label, "tokens of dy and x", dy_TO.extent(0), x_TI.extent(0));
  check_equal(label, "outputs of dy and dw", dy_TO.extent(1), dw_OI_acc.extent(0));
  check_equal(label, "inputs of x and dw", x_TI.extent(1), dw_OI_acc.extent(1));
  const Index T = x_TI.extent(0), O = dw_OI_acc.extent(0), I = dw_OI_acc.extent(1);
  const PanelCut cut = cut_panels(O);
  const A *dy = dy_TO.data(), *x = x_TI.data();
  float *dw = dw_OI_acc.data();
  launch(ctx, label, T == 0 ? 0 : cut.count(),
         [=](Index i) { weight_panel(dy, x, dw, T, O, I, cut[i]); });
  ctx.count(label, 2.0 * double(T) * double(O) * double(I),
            double(T) * double(O + I) * sizeof(A) + 2.0 * double(O) * double(I) * 4);
}

template <class A, class Y>
void grouped_linear(Context &ctx, const char *label, std::span<const Index> offsets,
                    Mat<const A> x_AI, Cube<const A> w_EOI, Mat<Y> y_AO) {
  check_packed(label, x_AI, "x"), check_packed(label, w_EOI, "w"), check_packed(label, y_AO, "y");
  check_equal(label, "rows of x and y", x_AI.extent(0), y_AO.extent(0));
  check_equal(label, "inputs of x and w", x_AI.extent(1), w_EOI.extent(2));
  check_equal(label, "outputs of w and y", w_EOI.extent(1), y_AO.extent(1));
  check_offsets(label, offsets, w_EOI.extent(0), x_AI.extent(0));
  grouped_rowwise(ctx, label, Form::linear, offsets, w_EOI.extent(1), w_EOI.extent(2), x_AI.data(),
                  w_EOI.data(), y_AO.data(), false);
}

template <class A>
void grouped_linear_backward_input(Context &ctx, const char *label, std::span<const Index> offsets,
                                   Mat<const A> dy_AO, Cube<const A> w_EOI, Mat<A> dx_AI,
                                   bool accumulate) {
  check_packed(label, dy_AO, "dy"), check_packed(label, w_EOI, "w"),
      check_packed(label, dx_AI, "dx");
  check_equal(label, "rows of dy and dx", dy_AO.extent(0), dx_AI.extent(0));
  check_equal(label, "outputs of dy and w", dy_AO.extent(1), w_EOI.extent(1));
  check_equal(label, "inputs of w and dx", w_EOI.extent(2), dx_AI.extent(1));
  check_offsets(label, offsets, w_EOI.extent(0), dy_AO.extent(0));
  grouped_rowwise(ctx, label, Form::backward_input, offsets, w_EOI.extent(2), w_EOI.extent(1),
                  dy_AO.data(), w_EOI.data(), dx_AI.data(), accumulate);
}

template <class A>
void grouped_linear_backward_weight(Context &ctx, const char *label, std::span<const Index> offsets,
                                    Mat<const A> dy_AO, Mat<const A> x_AI, Cube<float> dw_EOI_acc) {
  check_packed(label, dy_AO, "dy"), check_packed(label, x_AI, "x"),
      check_packed(label, dw_EOI_acc, "dw");
  check_equal(label, "rows of dy and x", dy_AO.extent(0), x_AI.extent(0));
  check_equal(label, "outputs of dy and dw", dy_AO.extent(1), dw_EOI_acc.extent(1));
  check_equal(label, "inputs of x and dw", x_AI.extent(1), dw_EOI_acc.extent(2));
  check_offsets(label, offsets, dw_EOI_acc.extent(0), x_AI.extent(0));
  const Index E = dw_EOI_acc.extent(0), O = dw_EOI_acc.extent(1), I = dw_EOI_acc.extent(2);
  const PanelCut cut = cut_group_panels(O);
  std::vector<GroupTask> tasks; // expert and panel
  Index used = 0;
  for (Index e = 0; e < E; ++e) {
    if (offsets[e] == offsets[e + 1]) continue;
    for (Index i = 0; i < cut.count(); ++i) tasks.push_back({e, cut[i].begin, cut[i].size});
    ++used;
  }
  const GroupTask *list = tasks.data(); // host launches end before they return
  const Index *at = offsets.data();
  const A *dy = dy_AO.data(), *x = x_AI.data();
  float *dw = dw_EOI_acc.data();
  launch(ctx, label, static_cast<Index>(tasks.size()), [=](Index i) {
    const auto [e, begin, size] = list[i];
    weight_panel(dy + at[e] * O, x + at[e] * I, dw + e * O * I, at[e + 1] - at[e], O, I,
                 {begin, size});
  });
  const double rows = double(offsets.back());
  ctx.count(label, 2.0 * rows * double(O) * double(I),
            rows * double(O + I) * sizeof(A) + 8.0 * double(used * O * I));
}

std::string body_name(bool bf16, char form, Index m, Index n, Index k) {
  if (gemm_body() == GemmBody::kokkos) return "kokkos kernels";
  const bool by_library = gemm_body() == GemmBody::onednn;
  if (bf16 && !(by_library && onednn::keeps_rows(true)))
    return body_name(false, form, m, n, k) + " after conversion";
  if (!by_library || !onednn::keeps_rows(false)) return "own loops";
  const bool weight = form == 'w';
  return onednn::body_name({static_cast<Form>(form), bf16, bf16 && !weight, weight, m, n, k});
}

template void linear(Context &, const char *, Mat<const float>, Mat<const float>, Mat<float>);
template void linear(Context &, const char *, Mat<const bf16>, Mat<const bf16>, Mat<bf16>);
template void linear(Context &, const char *, Mat<const bf16>, Mat<const bf16>, Mat<float>);
template void linear_backward_input(Context &, const char *, Mat<const float>, Mat<const float>,
                                    Mat<float>, bool);
template void linear_backward_input(Context &, const char *, Mat<const bf16>, Mat<const bf16>,
                                    Mat<bf16>, bool);
template void linear_backward_weight(Context &, const char *, Mat<const float>, Mat<const float>,
                                     Mat<float>);
template void linear_backward_weight(Context &, const char *, Mat<const bf16>, Mat<const bf16>,
                                     Mat<float>);
using Offsets = std::span<const Index>;
template void grouped_linear(Context &, const char *, Offsets, Mat<const float>, Cube<const float>,
                             Mat<float>);
template void grouped_linear(Context &, const char *, Offsets, Mat<const bf16>, Cube<const bf16>,
                             Mat<bf16>);
template void grouped_linear(Context &, const char *, Offsets, Mat<const bf16>, Cube<const bf16>,
                             Mat<float>);
template void grouped_linear_backward_input(Context &, const char *, Offsets, Mat<const float>,
                                            Cube<const float>, Mat<float>, bool);
template void grouped_linear_backward_input(Context &, const char *, Offsets, Mat<const bf16>,
                                            Cube<const bf16>, Mat<bf16>, bool);
template void grouped_linear_backward_weight(Context &, const char *, Offsets, Mat<const float>,
                                             Mat<const float>, Cube<float>);
template void grouped_linear_backward_weight(Context &, const char *, Offsets, Mat<const bf16>,
                                             Mat<const bf16>, Cube<float>);

} // namespace numerics
