// SPDX-License-Identifier: Apache-2.0
#include "distil/http.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <thread>

#include <fmt/format.h>
#include <httplib.h>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "data/json.hpp"

namespace distil {
namespace {

using base::Exit, base::UserError;
using Clock = std::chrono::steady_clock;
constexpr std::size_t kMostBytes = std::size_t{64} << 20; // of one response

// What one request came to.
struct Reply {
  enum class Kind { given, again, refused } kind = Kind::again;
  Given given;
  std::string why;
  double retry_after = 0;
};

Clock::duration seconds(double s) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s));
}

// When the next request may start, and the end of all when one has failed for good.
class Gate {
public:
  explicit Gate(std::int64_t a_minute)
      : step_(a_minute > 0 ? seconds(60.0 / static_cast<double>(a_minute)) : Clock::duration{}) {}
  bool enter() { // false: over
    Clock::time_point at;
    {
      const std::lock_guard lock(mutex_);
      at = std::max(next_, Clock::now());
      next_ = at + step_;
    }
    return sleep_until(at);
  }
  bool sleep(double s) { return sleep_until(Clock::now() + seconds(s)); }
  void end(std::exception_ptr why) {
    const std::lock_guard lock(mutex_);
    if (!over_) why_ = std::move(why);
    over_ = true;
    ended_.notify_all();
  }
  void rethrow() const {
    if (why_) std::rethrow_exception(why_);
  }

private:
  bool sleep_until(Clock::time_point at) {
    std::unique_lock lock(mutex_);
    return !ended_.wait_until(lock, at, [&] { return over_; });
  }
  const Clock::duration step_;
  Clock::time_point next_{};
  std::mutex mutex_;
  std::condition_variable ended_;
  bool over_ = false;
  std::exception_ptr why_;
};

nlohmann::json messages_of(const Question &question) {
  auto list = nlohmann::json::array();
  for (const data::chat::Message &m : question.messages)
    list.push_back({{"role", data::chat::name_of(m.role)}, {"content", m.content.value_or("")}});
  return list;
}

Reply understand(const std::string &body) {
  Reply reply;
  try {
    const auto json = nlohmann::json::parse(body);
    const auto &choice = json.at("choices").at(0);
    reply.given.text = choice.at("message").at("content").get<std::string>();
    const auto finish = choice.find("finish_reason");
    reply.given.ended = finish != choice.end() && *finish == "stop";
    if (const auto usage = json.find("usage"); usage != json.end() && usage->is_object())
      reply.given.tokens = usage->value("completion_tokens", std::int64_t{-1});
    reply.kind = Reply::Kind::given;
  } catch (const nlohmann::json::exception &) {
    reply.why = fmt::format("not the JSON of a chat completion: {}", data::shown(body));
  }
  return reply;
}

class HttpTeacher : public Teacher {
public:
  explicit HttpTeacher(const Options &options) : o_(options), at_(address_of(options.url)) {
    if (o_.key_variable.empty()) return;
    const char *key = std::getenv(o_.key_variable.c_str());
    if (!key || !*key)
      throw UserError(Exit::machine, "E371", "distil.key_variable", o_.key_variable,
                      "this environment variable is not set; it holds the key of the server");
    key_ = key;
    if (key_.find_first_of("\r\n") != std::string::npos)
      throw UserError(Exit::machine, "E371", "distil.key_variable", o_.key_variable,
                      "the key in this environment variable has a line break");
  }
  // Not the address: a server may move, and its answers stay those of the model.
  std::string name() const override { return o_.model; }

  void answer(const std::vector<Asked> &asked, Journal &journal,
              const Progress &progress) override {
    Gate gate(o_.a_minute);
    std::atomic<std::size_t> next{0};
    std::mutex telling;
    const auto work = [&] {
      try {
        for (std::size_t i; (i = next++) < asked.size();) {
          Given given;
          if (!ask(asked[i], gate, given)) return;
          journal.add({asked[i].question->key, asked[i].sample}, given);
          const std::lock_guard lock(telling);
          progress(journal.size());
        }
      } catch (...) {
        gate.end(std::current_exception());
      }
    };
    std::vector<std::thread> threads;
    const auto most = std::min<std::size_t>(static_cast<std::size_t>(o_.concurrency), asked.size());
    for (std::size_t i = 0; i < most; ++i) threads.emplace_back(work);
    for (std::thread &thread : threads) thread.join();
    gate.rethrow();
  }

private:
  bool ask(const Asked &asked, Gate &gate, Given &given) const {
    for (std::int64_t attempt = 0;; ++attempt) {
      if (!gate.enter()) return false;
      Reply reply = post(asked);
      if (reply.kind == Reply::Kind::given) {
        given = std::move(reply.given);
        return true;
      }
      const std::string kept = "the answers so far are kept; start again to go on from there";
      if (reply.kind == Reply::Kind::refused)
        throw UserError(Exit::machine, "E375", o_.url, reply.why,
                        "the server refuses this request, so that it is not repeated (address, "
                        "model, key, a prompt that is too long?); " +
                            kept);
      if (attempt >= o_.retries)
        throw UserError(Exit::machine, "E376", o_.url,
                        fmt::format("{} ({} of {})", reply.why, attempt + 1, o_.retries + 1), kept);
      if (!gate.sleep(wait_before(attempt, o_.backoff, reply.retry_after))) return false;
    }
  }

  std::string body_of(const Asked &asked) const {
    nlohmann::json body = {{"model", o_.model},
                           {"messages", messages_of(*asked.question)},
                           {"temperature", o_.temperature},
                           {"top_p", o_.top_p},
                           {"max_tokens", o_.max_tokens},
                           {"seed", o_.seed + asked.sample}};
    if (!o_.stop.empty()) body["stop"] = o_.stop;
    return body.dump();
  }

  Reply post(const Asked &asked) const {
    httplib::Client client(at_.origin);
    const auto whole = static_cast<time_t>(o_.timeout);
    const auto rest = static_cast<time_t>((o_.timeout - static_cast<double>(whole)) * 1e6);
    client.set_connection_timeout(whole, rest);
    client.set_read_timeout(whole, rest);
    client.set_write_timeout(whole, rest);
    httplib::Request request;
    request.method = "POST", request.path = at_.path + "/chat/completions";
    request.headers = {{"Content-Type", "application/json"}, {"Accept", "application/json"}};
    if (!key_.empty()) request.headers.emplace("Authorization", "Bearer " + key_);
    request.body = body_of(asked);
    std::string body;
    const auto until = Clock::now() + seconds(o_.timeout);
    request.content_receiver = [&](const char *bytes, std::size_t n, std::uint64_t, std::uint64_t) {
      body.append(bytes, n);
      return body.size() <= kMostBytes &&
             Clock::now() < until; // a server that drips, or never ends
    };
    const httplib::Result result = client.send(request);
    if (!result) {
      Reply reply;
      reply.why = "no answer: " + httplib::to_string(result.error());
      return reply;
    }
    if (result->status == 200) return understand(body);
    Reply reply;
    const int status = result->status;
    reply.why = fmt::format("status {}: {}", status, data::shown(body, 200));
    if (status != 408 && status != 429 && status < 500) reply.kind = Reply::Kind::refused;
    if (result->has_header("Retry-After"))
      reply.retry_after = std::atof(result->get_header_value("Retry-After").c_str());
    return reply;
  }

  const Options o_;
  const Address at_;
  std::string key_;
};

} // namespace

Address address_of(const std::string &url) {
  const auto refuse = [&](const char *why) {
    throw UserError(Exit::deck, "E370", "distil.url", url, why);
  };
  const bool secure = url.starts_with("https://");
  if (!secure && !url.starts_with("http://")) refuse("a url begins with http:// or https://");
#ifndef CPPHTTPLIB_OPENSSL_SUPPORT
  if (secure)
    refuse("this program was built without TLS; reach the server through a local http proxy");
#endif
  const std::size_t from = secure ? 8 : 7, slash = std::min(url.find('/', from), url.size());
  if (slash == from) refuse("there is no host");
  if (url.find_first_of(" \t\r\n?#@") != std::string::npos)
    refuse("no spaces, user names, queries or fragments; keys go through distil.key_variable");
  Address a{url.substr(0, slash), url.substr(slash)};
  while (a.path.ends_with('/')) a.path.pop_back();
  return a;
}

double wait_before(std::int64_t attempt, double backoff, double retry_after) {
  double wait = backoff;
  for (std::int64_t i = 0; i < attempt && wait < 60; ++i) wait *= 2;
  wait = std::min(wait, std::max(60.0, backoff));
  return retry_after > wait ? std::min(retry_after, 600.0) : wait;
}

std::unique_ptr<Teacher> http_teacher(const Options &options) {
  return std::make_unique<HttpTeacher>(options);
}

} // namespace distil
