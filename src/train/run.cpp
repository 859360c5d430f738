// SPDX-License-Identifier: Apache-2.0
#include "train/run.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <fmt/format.h>

#include "arch/counts.hpp"
#include "base/clock.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "numerics/gemm.hpp"
#include "train/alike.hpp"
#include "train/before.hpp"
#include "train/continuing.hpp"
#include "train/distil/teacher.hpp"
#include "train/fingerprint.hpp"
#include "train/grpo/models.hpp"
#include "train/grpo/rollouts.hpp"
#include "train/memory.hpp"
#include "train/stop.hpp"
#include "train/telling.hpp"
#include "train/traced_steps.hpp"

namespace train {
namespace {

namespace fs = std::filesystem;
using base::Exit, base::UserError;

double gemm_peak(tensor::Context &ctx, const Options &o) {
  return numerics::measure_gemm_peak(ctx, o.precision.compute == Compute::bf16, 1024);
}

// A launcher that ends a run sends SIGTERM: whoever waits for another then tells what for, and goes.
class StopWaits {
public:
  StopWaits(comm::Terms &terms, const StopRequests &requests) : terms_(terms) {
    terms.stop_when([&requests] { return requests.signal() == "SIGTERM"; });
  }
  ~StopWaits() { terms_.stop_when({}); }
  StopWaits(const StopWaits &) = delete;

private:
  comm::Terms &terms_;
};

template <class A> class Run {
public:
  Run(const Options &options, const Launch &launch, comm::Communicator &world)
      : launch_(launch), ranks_(require_ranks(options, world), world),
        layout_(options.dims, ranks_.share()), lock_(prepare(options)),
        reading_(open_reading(options, ranks_)), samples_(*reading_.samples),
        o_(resolved(options, reading_)), state_(o_, ranks_, layout_),
        trainer_(o_, ranks_, state_, samples_) {
    if (samples_.vocabulary() > o_.dims.vocabulary)
      throw UserError(Exit::deck, "E028", o_.deck_name,
                      fmt::format("[model] vocabulary = {}, but the tokenizer has {} ids",
                                  o_.dims.vocabulary, samples_.vocabulary()),
                      "make the model's vocabulary at least as large");
    require_same_data(world, samples_.content_hash(), samples_.tokenizer_hash());
    make_writer();
    load();
    if (o_.teacher.on()) {
      teacher_ = std::make_unique<distil::Teacher<A>>(o_, ranks_, samples_.tokenizer_hash());
      trainer_.set_teacher([this](auto &samples) { teacher_->tell(samples); });
    }
    if (launch_.examiner)
      launch_.examiner->begin(
          {o_, ranks_, samples_.tokenizer(), companions_, state_.counters.step});
  }

  int operator()() {
    auto &c = state_.counters;
    first_step_ = c.step;
    introduce();
    std::optional<History> history; // rank 0 writes it
    if (ranks_.first())
      history.emplace(o_.run.directory, samples_.source_names(), c.step, o_.dims.moe(),
                      more_columns());
    Console console(o_.train.steps, o_.dims.mtp_depth > 0);
    std::string reason = c.step >= o_.train.steps ? "all steps were done before" : "";
    while (reason.empty()) {
      const base::Stopwatch watch;
      if (rounds_) rounds_->before_step(trainer_, c);
      traced_.begin();
      const StepReport report = trainer_.step();
      traced_.end();
      Row row = row_of(o_, c, report, watch.seconds(), speed_);
      row.more = rounds_ ? rounds_->values(report) : values_of(o_, report);
      row.remark = rounds_ ? rounds_->remark() : remark_of(o_, report);
      if (report.verdict != Verdict::good) reason = bad_step(report);
      if (reason.empty() && validation_due()) validate(row, c.step >= o_.train.steps);
      if (reason.empty() && launch_.examiner)
        launch_.examiner->examine(trainer_.weights(), c.step, c.step >= o_.train.steps);
      if (reason.empty() && c.step >= o_.train.steps) reason = "all steps done";
      const bool within = rounds_ && !rounds_->complete(c); // the end of the round is waited for
      since_stop_ += watch.seconds();
      const Wishes wishes = within ? Wishes{} : agree(stop_asked(std::exchange(since_stop_, 0.0)));
      if (reason.empty()) reason = wishes.stop;
      if (!within || !reason.empty())
        row.stall_seconds = checkpoint_if_due(reason, wishes.checkpoint);
      if (!history) continue;
      history->write(row);
      if (o_.dims.moe() && (c.step % o_.train.load_every == 0 || !reason.empty()))
        write_loads(*history, o_, c.step, report);
      console.step(row, first_step_);
    }
    return finish(reason);
  }

private:
  // Rank 0 makes and locks the folder and keeps the log; the others speak when something is wrong.
  std::unique_ptr<base::DirectoryLock> prepare(const Options &o) const {
    require_memory<A>(o, ranks_, layout_);
    if (!ranks_.first()) {
      base::log::set_console_level(base::log::Level::warn);
      return nullptr;
    }
    std::error_code error;
    fs::create_directories(fs::path(o.run.directory) / "checkpoints", error);
    if (error)
      throw UserError(Exit::machine, "E073", o.run.directory,
                      "the run directory cannot be made: " + error.message(),
                      "check permissions, or give run.directory");
    auto lock = std::make_unique<base::DirectoryLock>(o.run.directory);
    base::log::open_file((fs::path(o.run.directory) / "run.log").string());
    return lock;
  }
  // Writer 0 removes what a killed run left, before the others begin.
  void make_writer() {
    checkpoint::WriterOptions w{fs::path(o_.run.directory) / "checkpoints", o_.checkpoint.keep_last,
                                o_.checkpoint.keep_every};
    w.writer = ranks_.world().rank(), w.writers = ranks_.world().size();
    w.deadline = o_.parallel.deadline;
    if (ranks_.first()) writer_ = std::make_unique<checkpoint::Writer>(w);
    ranks_.world().barrier({"start of the writers"});
    if (!writer_) writer_ = std::make_unique<checkpoint::Writer>(w);
  }
  // Fresh weights, weights of another checkpoint, or everything from a restart.
  void load() {
    auto &ctx = trainer_.context();
    state_.counters.cursor = samples_.start();
    if (reading_.answers) rounds_ = grpo::make_rounds<A>(o_, ranks_, *reading_.answers);
    if (const auto reader = together(ranks_, [&] { return find_restart(o_, launch_.restart); })) {
      require_same_phase(*reader, o_.run.phase);
      require_same_tokenizer(*reader, samples_.tokenizer_hash());
      require_same_meaning(*reader, o_);
      if (rounds_ && o_.grpo.beta > 0) start_from_weights(); // what answers are held against
      state_.read(ctx, *reader, false);
      companions_ = reader->companions();
      tell_other_order(*reader, order_of_samples(o_, samples_.content_hash()));
      base::log::info("restart from {} (step {}, state hash {})", reader->directory().string(),
                      reader->step(), reader->state_hash());
      last_checkpoint_ = looked_ = state_.counters.step;
    } else {
      state_.initialise(ctx, static_cast<std::uint64_t>(o_.run.seed));
      if (!o_.run.init_from.empty()) start_from_weights();
    }
    trainer_.weights_changed();
  }
  void start_from_weights() {
    const auto source =
        together(ranks_, [&] { return std::optional(checkpoint::Reader::open(o_.run.init_from)); });
    require_same_tokenizer(*source, samples_.tokenizer_hash());
    o_.run.phase == Phase::pretrain ? require_same_meaning(*source, o_)
                                    : require_same_model(*source, o_);
    state_.read(trainer_.context(), *source, true);
    companions_ = source->companions();
    if (rounds_) { // the copy is made of what layers read
      trainer_.weights_changed();
      rounds_->begin(trainer_);
    }
    base::log::info("weights from {} (step {})", source->directory().string(), source->step());
  }

  void introduce() {
    speed_.flops_per_token = static_cast<double>(
        arch::flops_per_token(o_.dims, o_.batch.sequence, arch::Attention::causal).total());
    if (!ranks_.first()) return;
    tell_beginning(o_, launch_, ranks_, reading_);
    speed_.peak = static_cast<double>(ranks_.world().size()) * gemm_peak(trainer_.context(), o_);
    base::log::info("GEMM peak measured now: {:.0f} GFLOP/s in {}; {:.1f} MFLOP a token",
                    speed_.peak / 1e9, o_.precision.compute == Compute::bf16 ? "bf16" : "f32",
                    speed_.flops_per_token / 1e6);
  }

  MoreColumns more_columns() const {
    return rounds_ ? MoreColumns{rounds_->columns(), rounds_->units()} : columns_of(o_);
  }

  bool validation_due() const {
    const auto step = state_.counters.step;
    return samples_.validation_samples() > 0 &&
           (step >= o_.train.steps ||
            (o_.train.validate_every > 0 && step % o_.train.validate_every == 0));
  }
  void validate(Row &row, bool whole) {
    const Validation v = trainer_.validate(samples_, whole ? 0 : o_.train.validation_samples);
    row.validation_loss = v.loss;
    if (v.bytes > 0) row.validation_bits_per_byte = v.bits_per_byte;
    if (o_.run.phase == Phase::reward) {
      row.more.back() = share(v.extra, 1);
      if (ranks_.first())
        base::log::info("held-out pairs: {:.1f} % right of {}", 100 * row.more.back(), v.tokens);
    }
    if (whole) base::log::debug("validation: {} tokens, {} bytes", v.tokens, v.bytes);
  }

  std::string stop_asked(double step_seconds) {
    if (const auto signal = requests_.signal(); !signal.empty()) return signal;
    longest_step_ = std::max(longest_step_, step_seconds);
    if (o_.run.wall_clock > 0 && ranks_.first() &&
        clock_.seconds() + 2 * longest_step_ + 2 * writer_->last_seconds() + 1 > o_.run.wall_clock)
      return "wall clock";
    return "";
  }

  // What is to be done behind this step: a signal that any rank got, rank 0's clock and its file checkpoint_now.
  struct Wishes {
    std::string stop;
    bool checkpoint = false;
  };
  Wishes agree(const std::string &mine) {
    static constexpr const char *kReasons[] = {"", "wall clock", "SIGUSR1", "SIGINT", "SIGTERM"};
    const bool due = ranks_.first() && checkpoint_wanted();
    if (ranks_.alone()) return {mine, due};
    std::int64_t values[2] = {0, due ? 1 : 0};
    for (std::size_t i = 0; i < std::size(kReasons); ++i)
      if (mine == kReasons[i]) values[0] = static_cast<std::int64_t>(i);
    ranks_.world().all_reduce_max(values, {"what is to be done"});
    return {kReasons[values[0]], values[1] != 0};
  }
  bool checkpoint_wanted() const {
    return checkpoint_asked(o_.run.directory) ||
           (o_.checkpoint.every_time > 0 && since_checkpoint_.seconds() > o_.checkpoint.every_time);
  }

  // What the deck says about a bad step: "" to go on.
  std::string bad_step(const StepReport &r) {
    const std::string what =
        r.verdict == Verdict::spike
            ? fmt::format("loss {:.4f} spikes (running mean {:.4f})", r.loss,
                          state_.counters.mean_loss)
            : fmt::format("not finite (loss {}, gradient norm {}); first in {}", r.loss,
                          r.grad_norm, r.where.empty() ? "the losses" : r.where);
    if (ranks_.first())
      base::log::warn("step {}: {}; samples {} to {}", state_.counters.step, what, r.first_sample,
                      r.first_sample + r.samples - 1);
    if (o_.train.on_bad_loss == BadLoss::stop) {
      failure_ = what;
      return "numbers";
    }
    if (o_.train.on_bad_loss == BadLoss::skip) return "";
    return roll_back(r);
  }

  std::string roll_back(const StepReport &r) {
    writer_->wait();
    const auto reader =
        together(ranks_, [&] { return checkpoint::Reader::newest(o_.run.directory); });
    if (!reader || ++roll_backs_[reader->step()] > o_.train.roll_backs) {
      failure_ = reader
                     ? fmt::format("{} roll-backs to step {}", o_.train.roll_backs, reader->step())
                     : "nothing to roll back to";
      return "numbers";
    }
    auto avoid = state_.counters.avoid;
    const auto rolled = state_.counters.rolled_back + 1;
    avoid.emplace_back(r.first_sample, r.first_sample + r.samples);
    state_.read(trainer_.context(), *reader, false);
    state_.counters.avoid = avoid, state_.counters.rolled_back = rolled;
    trainer_.weights_changed();
    if (ranks_.first())
      base::log::warn("rolled back to step {}; samples {} to {} will be left out",
                      state_.counters.step, r.first_sample, r.first_sample + r.samples - 1);
    return "";
  }

  // Seconds that the training stood still.
  double checkpoint_if_due(const std::string &reason, bool wanted) {
    const auto step = state_.counters.step;
    const bool by_step =
        o_.checkpoint.every > 0 && step / o_.checkpoint.every > looked_ / o_.checkpoint.every;
    looked_ = step;
    const bool at_stop = !reason.empty() && reason != "numbers" &&
                         (reason != "all steps done" || o_.checkpoint.at_end);
    if (!(wanted || by_step || at_stop) || step == last_checkpoint_) return 0;
    const base::Stopwatch stall;
    write_checkpoint();
    return stall.seconds();
  }

  void write_checkpoint() {
    writer_->wait(); // the copies below belong to the writer until it is done
    checkpoint::Snapshot s;
    s.step = state_.counters.step;
    s.deck = launch_.resolved_deck;
    s.info = order_of_samples(o_, samples_.content_hash());
    s.info["fingerprint"] = fingerprint(o_).to_json();
    s.info["tokenizer"] = samples_.tokenizer_hash();
    s.info["phase"] = name_of(o_.run.phase);
    s.tokenizer = reading_.tokenizer;
    s.companions = companions_;
    s.sections = state_.sections(trainer_.context(), true);
    if (ranks_.alone()) {
      s.state_hash = checkpoint::state_hash(s.sections);
    } else {
      s.whole = state_.whole();
      s.attempt = ranks_.world().all_gather_text(ranks_.first() ? checkpoint::new_attempt() : "",
                                                 {"start of a checkpoint"})[0];
    }
    writer_->start(std::move(s));
    last_checkpoint_ = state_.counters.step;
    since_checkpoint_ = base::Stopwatch();
  }

  int finish(const std::string &reason) {
    writer_->wait();
    traced_.finish();
    if (const std::string hidden = hidden_text(ranks_, trainer_.flights()); !hidden.empty())
      base::log::info("communication hidden: {}", hidden);
    if (writer_->last_bytes() > 0)
      base::log::info("checkpoint of step {}: {} in {:.2f} s", last_checkpoint_,
                      base::text::bytes(static_cast<std::int64_t>(writer_->last_bytes())),
                      writer_->last_seconds());
    base::log::info("memory: {}, {} measured at most",
                    memory_text(planned_memory<A>(o_, ranks_, layout_)),
                    base::text::bytes(peak_resident_bytes()));
    tell_traffic(ranks_);
    const auto &c = state_.counters;
    if (ranks_.first() && (c.skipped > 0 || c.rolled_back > 0))
      base::log::warn("{} steps skipped, {} roll-backs", c.skipped, c.rolled_back);
    const std::string said = reason == "numbers" ? "numbers: " + failure_ : reason;
    base::log::info("stopped: {} | state hash {}", said, state_.hash(trainer_.context()));
    base::log::flush();
    if (reason == "numbers") return static_cast<int>(Exit::numbers);
    return c.step >= o_.train.steps ? 0 : static_cast<int>(Exit::run_me_again);
  }

  const Launch &launch_;
  base::Stopwatch clock_, since_checkpoint_;
  StopRequests requests_;
  Ranks ranks_;
  StopWaits stop_waits_{ranks_.world().terms(), requests_};
  model::Layout layout_;
  std::unique_ptr<base::DirectoryLock> lock_;
  Reading reading_;
  const data::Samples &samples_;
  const Options o_;
  State state_;
  Trainer<A> trainer_;
  TracedSteps traced_{o_, ranks_, trainer_.flights()};
  std::unique_ptr<distil::Teacher<A>> teacher_;
  std::unique_ptr<Rounds<A>> rounds_; // of a phase that makes its samples itself
  std::unique_ptr<checkpoint::Writer> writer_;
  std::map<std::int64_t, std::int64_t> roll_backs_;
  std::vector<std::pair<std::string, std::string>> companions_; // files that travel with the model
  std::string failure_;
  Speed speed_;
  double longest_step_ = 0, since_stop_ = 0;
  std::int64_t first_step_ = 0, last_checkpoint_ = -1, looked_ = 0;
};

} // namespace

int run(const Options &given, const Launch &launch, comm::Communicator &world) {
  meet(world, given.parallel.deadline, launch.resolved_deck);
  const Options options = distil::with_teacher(grpo::with_models(given, world), world);
  if (options.precision.compute == Compute::bf16)
    return Run<numerics::bf16>(options, launch, world)();
  return Run<float>(options, launch, world)();
}

} // namespace train
