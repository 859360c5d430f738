// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi/mpi.hpp"

#include <algorithm>
#include <cstdlib>
#include <limits>

#include <unistd.h>

#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

namespace comm::mpi {
namespace {

// Every return code: the error handler returns them instead of ending the process without a word.
void must(int code, const char *call, const std::string &about) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw base::UserError(base::Exit::machine, "E080", about, fmt::format("{}: {}", call, text),
                        "The MPI library reports a fault of the machine: a lost peer, a network or "
                        "a limit. Restart from the newest\ncheckpoint; hadal selftest checks the "
                        "connections of all pairs.");
}

class MpiPending : public Pending {
public:
  MpiPending(std::shared_ptr<const Place> place, const Envelope &envelope, MPI_Comm comm,
             char *data)
      : Pending(std::move(place), envelope) {
    const std::size_t piece = this->place().terms->options().piece_bytes;
    std::size_t offset = 0;
    do { // an empty message is one empty piece
      const std::size_t bytes = std::min(piece, envelope.bytes - offset);
      pieces_.push_back({MPI_REQUEST_NULL, bytes});
      MPI_Request *request = &pieces_.back().request;
      const int count = static_cast<int>(bytes);
      must(envelope.sending ? MPI_Isend(data + offset, count, MPI_BYTE, envelope.peer, envelope.tag,
                                        comm, request)
                            : MPI_Irecv(data + offset, count, MPI_BYTE, envelope.peer, envelope.tag,
                                        comm, request),
           envelope.sending ? "MPI_Isend" : "MPI_Irecv", envelope.what.operation);
      offset += bytes;
    } while (offset < envelope.bytes);
  }

  // Not done only after an error: the process is about to end.
  ~MpiPending() override {
    for (Piece &piece : pieces_)
      if (piece.request != MPI_REQUEST_NULL && initialized()) {
        if (!envelope().sending) MPI_Cancel(&piece.request);
        MPI_Request_free(&piece.request);
      }
  }

  bool poll() override {
    for (; first_ < pieces_.size(); ++first_) {
      Piece &piece = pieces_[first_];
      int done = 0;
      MPI_Status status;
      const int code = MPI_Test(&piece.request, &done, &status);
      HADAL_CHECK(code == MPI_SUCCESS || error_class(code) != MPI_ERR_TRUNCATE,
                  "{}: {} bytes expected from {}, more came", envelope().what.operation,
                  envelope().bytes, place().name(envelope().peer));
      must(code, "MPI_Test", envelope().what.operation);
      if (!done) return false;
      if (envelope().sending) continue;
      int came = 0;
      MPI_Get_count(&status, MPI_BYTE, &came);
      HADAL_CHECK(static_cast<std::size_t>(came) == piece.bytes,
                  "{}: {} bytes expected from {}, {} came", envelope().what.operation, piece.bytes,
                  place().name(envelope().peer), came);
    }
    return true;
  }

  std::size_t outstanding() const override {
    std::size_t bytes = 0;
    for (std::size_t i = first_; i < pieces_.size(); ++i) bytes += pieces_[i].bytes;
    return bytes;
  }

private:
  struct Piece {
    MPI_Request request;
    std::size_t bytes;
  };
  static int error_class(int code) {
    int of = MPI_SUCCESS;
    MPI_Error_class(code, &of);
    return of;
  }

  std::vector<Piece> pieces_;
  std::size_t first_ = 0; // the pieces before it are done
};

class Mpi : public Communicator {
public:
  Mpi(Place place, MPI_Comm comm) : Communicator(std::move(place)), comm_(comm) {}
  ~Mpi() override {
    // MPI_Comm_free may wait for the others: not while an error is being handled.
    if (comm_ != MPI_COMM_WORLD && initialized() && std::uncaught_exceptions() == 0)
      MPI_Comm_free(&comm_);
  }

protected:
  std::unique_ptr<Pending> begin_send(const Envelope &e, const void *data) override {
    return std::make_unique<MpiPending>(shared_place(), e, comm_,
                                        const_cast<char *>(static_cast<const char *>(data)));
  }
  std::unique_ptr<Pending> begin_receive(const Envelope &e, void *data) override {
    return std::make_unique<MpiPending>(shared_place(), e, comm_, static_cast<char *>(data));
  }
  std::unique_ptr<Communicator> subgroup(int colour, const std::vector<int> &,
                                         Place place) override {
    barrier({"barrier before the split of an axis"}); // so that nobody is missing in the call below
    MPI_Comm made = MPI_COMM_NULL;
    terms().open_wait("MPI_Comm_split of axis " + axis(), Terms::Clock::now(),
                      terms().options().deadline);
    must(MPI_Comm_split(comm_, colour < 0 ? MPI_UNDEFINED : colour, std::max(place.rank, 0), &made),
         "MPI_Comm_split", axis());
    terms().close_wait();
    if (colour < 0) return nullptr;
    MPI_Comm_set_errhandler(made, MPI_ERRORS_RETURN);
    return std::make_unique<Mpi>(std::move(place), made);
  }

private:
  MPI_Comm comm_;
};

} // namespace

std::unique_ptr<Communicator> initialize(std::shared_ptr<Terms> terms) {
  int granted = MPI_THREAD_SINGLE;
  must(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &granted), "MPI_Init_thread",
       "start of MPI");
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  if (granted < MPI_THREAD_FUNNELED)
    throw base::UserError(base::Exit::machine, "E080", "start of MPI",
                          "the library does not grant MPI_THREAD_FUNNELED",
                          "Hadal computes with threads; take an MPI library with thread support.");
  Place place{"world", 0, 1, {}, terms};
  MPI_Comm_rank(MPI_COMM_WORLD, &place.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &place.size);
  for (int r = 0; r < place.size; ++r) place.world_ranks.push_back(r);
  auto world = std::make_unique<Mpi>(std::move(place), MPI_COMM_WORLD);
  char node[MPI_MAX_PROCESSOR_NAME] = "";
  int length = 0;
  MPI_Get_processor_name(node, &length);
  terms->nodes = world->all_gather_text(node, {"names of the nodes"});
  terms->crowded =
      std::count(terms->nodes.begin(), terms->nodes.end(), node) > sysconf(_SC_NPROCESSORS_ONLN);
  return world;
}

bool initialized() {
  int began = 0, ended = 0;
  MPI_Initialized(&began);
  MPI_Finalized(&ended);
  return began && !ended;
}

void finalize() { MPI_Finalize(); }

void all_to_all_v(const void *send, const Blocks &out, void *receive, const Blocks &in) {
  const auto numbers = [](const std::vector<std::size_t> &of) {
    std::vector<int> n;
    for (const std::size_t value : of) {
      HADAL_CHECK(value <= static_cast<std::size_t>(std::numeric_limits<int>::max()), "{} bytes",
                  value);
      n.push_back(static_cast<int>(value));
    }
    return n;
  };
  const auto sizes = numbers(out.bytes), places = numbers(out.offsets), to_come = numbers(in.bytes),
             in_places = numbers(in.offsets);
  must(MPI_Alltoallv(send, sizes.data(), places.data(), MPI_BYTE, receive, to_come.data(),
                     in_places.data(), MPI_BYTE, MPI_COMM_WORLD),
       "MPI_Alltoallv", "bench");
}

void abort(int code) {
  MPI_Abort(MPI_COMM_WORLD, code);
  std::_Exit(code);
}

} // namespace comm::mpi
