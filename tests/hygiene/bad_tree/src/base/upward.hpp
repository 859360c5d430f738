// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "arch/dims.hpp"
#include "local.hpp"
#include <Kokkos_Core.hpp>
