// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the readers of foreign JSON files share: nlohmann's events, everything refused that a reader does not ask for, no tree in
// memory, no recursion. Free of Kokkos, MPI and HDF5.
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.hpp"

namespace checkpoint {

// Between quotes; controls and whatever is not UTF-8 as \xHH; the start of a long text only.
std::string shown(std::string_view bytes, std::size_t most = 80);

class JsonEvents : public nlohmann::json_sax<nlohmann::json> {
public:
  // where: path for messages; number: of the error; advice: ends every message.
  JsonEvents(std::string where, const char *number, const char *advice)
      : where_(std::move(where)), number_(number), advice_(advice) {}

  // Reads the whole text. A zero byte would end nlohmann's reading in good order, so it is looked for first.
  void read(std::string_view text);
  [[noreturn]] void fail(std::string_view what) const;

  bool null() override { refuse("null"); }
  bool boolean(bool) override { refuse("true or false"); }
  bool number_integer(number_integer_t) override { refuse("a negative number"); }
  bool number_unsigned(number_unsigned_t) override { refuse("a number"); }
  bool number_float(number_float_t, const string_t &text) override {
    refuse("the number " + shown(text, 24));
  }
  bool string(string_t &text) override { refuse("the text " + shown(text)); }
  bool binary(binary_t &) override { refuse("binary data"); }
  bool start_object(std::size_t) override { refuse("an object"); }
  bool start_array(std::size_t) override { refuse("an array"); }
  bool parse_error(std::size_t position, const std::string &token,
                   const nlohmann::detail::exception &error) final;

protected:
  // what: was read where something else is needed.
  [[noreturn]] void refuse(const std::string &what) const { fail(refusal(what)); }

private:
  virtual std::string refusal(const std::string &what) const = 0; // says what is needed, and where

  std::string where_;
  const char *number_, *advice_;
};

} // namespace checkpoint
