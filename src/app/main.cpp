// SPDX-License-Identifier: Apache-2.0
#include "app/command_line.hpp"

int main(int count, char **arguments) {
  return app::run_command_line({arguments + (count > 0 ? 1 : 0), arguments + count});
}
