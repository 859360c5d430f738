// SPDX-License-Identifier: Apache-2.0
#include "arch/dims.hpp"
#include "arch/gone.hpp"
#include "comm/communicator.hpp"
#include "deck/deck.hpp"

const char *number() { return "E901"; } // "E902" stands in a comment and does not count
