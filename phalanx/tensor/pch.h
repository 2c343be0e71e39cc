// File: phalanx/tensor/pch.h
//
// Purpose: the one precompiled header of the tensor tier (its translation unit is pch.cc). Never included by hand.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>
