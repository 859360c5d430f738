// SPDX-License-Identifier: Apache-2.0
#include "base/log.hpp"

#include <memory>

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include "base/error.hpp"

namespace base::log {
namespace {

spdlog::level::level_enum native(Level level) {
  switch (level) {
  case Level::debug: return spdlog::level::debug;
  case Level::info: return spdlog::level::info;
  case Level::warn: return spdlog::level::warn;
  case Level::error: return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::unique_ptr<spdlog::formatter> pattern(const char *text) {
  return std::make_unique<spdlog::pattern_formatter>(text, spdlog::pattern_time_type::utc);
}

// Two loggers, so that warnings go to standard error and the rest to standard output; the file gets
// both.
struct Loggers {
  std::shared_ptr<spdlog::sinks::sink> out_sink = std::make_shared<spdlog::sinks::stdout_sink_mt>();
  std::shared_ptr<spdlog::sinks::sink> err_sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  spdlog::logger out{"out", out_sink}, err{"err", err_sink};

  Loggers() {
    out_sink->set_formatter(pattern("%v"));
    err_sink->set_formatter(pattern("%l: %v"));
    out_sink->set_level(spdlog::level::info);
    for (spdlog::logger *logger : {&out, &err}) {
      logger->set_level(spdlog::level::debug);
      logger->flush_on(spdlog::level::info);
      logger->set_error_handler([](const std::string &) {}); // a closed pipe must not stop a run
    }
  }
};

Loggers &loggers() {
  static Loggers instance;
  return instance;
}

} // namespace

void open_file(const std::string &path) {
  try {
    auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path, false);
    file->set_formatter(pattern("%Y-%m-%dT%H:%M:%S.%eZ %-7l %v"));
    for (spdlog::logger *logger : {&loggers().out, &loggers().err}) {
      logger->sinks().resize(1); // the console; a second call replaces the file
      logger->sinks().push_back(file);
    }
  } catch (const spdlog::spdlog_ex &error) {
    throw UserError(Exit::machine, "E073", path, "the log file cannot be opened", error.what());
  }
}

void set_console_level(Level level) {
  loggers().out_sink->set_level(native(level));
  loggers().err_sink->set_level(native(level));
}

void write(Level level, std::string_view text) {
  spdlog::logger &logger =
      level == Level::warn || level == Level::error ? loggers().err : loggers().out;
  logger.log(native(level), spdlog::string_view_t(text.data(), text.size()));
}

void flush() {
  loggers().out.flush();
  loggers().err.flush();
}

} // namespace base::log
