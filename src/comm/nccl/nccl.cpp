// SPDX-License-Identifier: Apache-2.0
// NCCL runs what is on one stream in order, and a send ends only with its receive. So begun messages are collected and
// launched together as one group at the next poll: a send and a receive with the same peer then cannot block each other.
#include "comm/nccl/nccl.hpp"

#include <utility>

#include <cuda_runtime_api.h>
#include <nccl.h>

namespace comm::nccl {
namespace {

[[noreturn]] void fail(const std::string &about, const char *call, const char *text) {
  throw base::UserError(base::Exit::machine, "E085", about, fmt::format("{}: {}", call, text),
                        "NCCL or CUDA reports a fault of the machine: a lost peer, a network or a "
                        "device. NCCL_DEBUG=INFO tells more; restart\nfrom the newest checkpoint.");
}

void must(ncclResult_t code, const char *call, const std::string &about) {
  if (code != ncclSuccess) fail(about, call, ncclGetErrorString(code));
}

void must(cudaError_t code, const char *call, const std::string &about) {
  if (code != cudaSuccess) fail(about, call, cudaGetErrorString(code));
}

// Messages that were launched together.
struct Group {
  std::vector<std::pair<Envelope, void *>> messages;
  cudaEvent_t event =
      nullptr; // behind the last of them on the stream; null: not launched through yet
  Group() = default;
  Group(const Group &) = delete;
  ~Group() {
    if (event) cudaEventDestroy(event);
  }
};

// The stream and the NCCL communicator, shared with the messages under way.
class Channel {
public:
  Channel(const Place &place, const ncclUniqueId &id) : axis_(place.axis) {
    must(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate", axis_);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0; // a lost peer must not hold this process
    begun(ncclCommInitRankConfig(&comm_, place.size, id, place.rank, &config));
  }
  ~Channel() {
    // Destroying waits for messages, which after an error may never end.
    if (broken_)
      ncclCommAbort(comm_);
    else
      ncclCommDestroy(comm_);
    cudaStreamDestroy(stream_);
  }
  Channel(const Channel &) = delete;

  std::shared_ptr<Group> add(const Envelope &envelope, void *data) {
    next_->messages.emplace_back(envelope, data);
    return next_;
  }

  // True when the group is through. Brings what was begun on its way, one group after the other.
  bool finished(const Group &group) {
    if (!settled()) return false;
    if (launched_) record();
    if (!next_->messages.empty()) launch();
    if (!group.event) return false;
    const cudaError_t state = cudaEventQuery(group.event);
    if (state == cudaErrorNotReady) return false;
    must(state, "cudaEventQuery", axis_);
    return true;
  }

  // A message was given up: nothing more may touch its memory.
  void give_up() {
    broken_ = true;
    next_->messages.clear();
  }

  void copy(void *to, const void *from, std::size_t bytes) {
    must(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_), "cudaMemcpyAsync",
         axis_);
    must(cudaStreamSynchronize(stream_), "cudaStreamSynchronize", axis_);
  }

  // NCCL's calls return before they are through (blocking = 0); another may follow only then.
  bool settled() const {
    ncclResult_t state = ncclSuccess;
    must(ncclCommGetAsyncError(comm_, &state), "ncclCommGetAsyncError", axis_);
    if (state == ncclInProgress) return false;
    must(state, "NCCL", axis_);
    return true;
  }

private:
  void begun(ncclResult_t code) const {
    if (code != ncclInProgress) must(code, "NCCL", axis_);
  }

  void launch() {
    launched_ = std::exchange(next_, std::make_shared<Group>());
    must(ncclGroupStart(), "ncclGroupStart", axis_);
    for (const auto &[e, data] : launched_->messages)
      begun(e.sending ? ncclSend(data, e.bytes, ncclInt8, e.peer, comm_, stream_)
                      : ncclRecv(data, e.bytes, ncclInt8, e.peer, comm_, stream_));
    begun(ncclGroupEnd());
    if (settled()) record();
  }

  void record() {
    must(cudaEventCreateWithFlags(&launched_->event, cudaEventDisableTiming), "cudaEventCreate",
         axis_);
    must(cudaEventRecord(launched_->event, stream_), "cudaEventRecord", axis_);
    launched_.reset();
  }

  std::string axis_;
  cudaStream_t stream_ = nullptr;
  ncclComm_t comm_ = nullptr;
  std::shared_ptr<Group> next_ = std::make_shared<Group>(),
                         launched_; // launched_: not recorded yet
  bool broken_ = false;
};

class NcclPending : public Pending {
public:
  NcclPending(std::shared_ptr<const Place> place, const Envelope &envelope,
              std::shared_ptr<Channel> channel, void *data)
      : Pending(std::move(place), envelope), channel_(std::move(channel)) {
    if (envelope.bytes > 0) group_ = channel_->add(envelope, data); // empty ones are no message
  }
  ~NcclPending() override {
    if (group_) channel_->give_up();
  }
  bool poll() override {
    if (group_ && channel_->finished(*group_)) group_.reset();
    return !group_;
  }

private:
  std::shared_ptr<Channel> channel_;
  std::shared_ptr<Group> group_;
};

class Nccl : public Communicator {
public:
  Nccl(Place place, Communicator &host, std::unique_ptr<Communicator> owned)
      : Communicator(std::move(place)), owned_(std::move(owned)), host_(host) {
    ncclUniqueId id = {};
    if (rank() == 0) must(ncclGetUniqueId(&id), "ncclGetUniqueId", axis());
    host_.broadcast(0, &id, sizeof id, {"identity of an NCCL group"});
    channel_ = std::make_shared<Channel>(this->place(), id);
    // Until all have come; the deadline of the barrier covers those that never do.
    wait_settled();
    host_.barrier({"start of an NCCL group"});
  }

  void copy(void *to, const void *from, std::size_t bytes) override {
    if (bytes && to != from) channel_->copy(to, from, bytes);
  }

protected:
  std::unique_ptr<Pending> begin_send(const Envelope &e, const void *data) override {
    return std::make_unique<NcclPending>(shared_place(), e, channel_, const_cast<void *>(data));
  }
  std::unique_ptr<Pending> begin_receive(const Envelope &e, void *data) override {
    return std::make_unique<NcclPending>(shared_place(), e, channel_, data);
  }
  std::unique_ptr<Communicator> subgroup(int colour, const std::vector<int> &,
                                         Place place) override {
    auto made = host_.split(colour, place.rank, place.axis);
    if (!made) return nullptr;
    Communicator &its_host = *made;
    return std::make_unique<Nccl>(std::move(place), its_host, std::move(made));
  }
  Communicator &host() override { return host_; }

private:
  // As a message that is received when NCCL has found all peers, so that the wait has its deadline.
  void wait_settled() {
    class Settling : public Pending {
    public:
      Settling(std::shared_ptr<const Place> place, Channel &channel)
          : Pending(std::move(place), {false, 0, 0, 0, {"start of an NCCL group"}}),
            channel_(channel) {}
      bool poll() override { return channel_.settled(); }

    private:
      Channel &channel_;
    };
    Request request(std::make_unique<Settling>(shared_place(), *channel_));
    wait(request);
  }

  std::unique_ptr<Communicator> owned_; // the host of a subgroup
  Communicator &host_;
  std::shared_ptr<Channel> channel_;
};

} // namespace

std::unique_ptr<Communicator> over(Communicator &host) {
  return std::make_unique<Nccl>(host.place(), host, nullptr);
}

} // namespace comm::nccl
