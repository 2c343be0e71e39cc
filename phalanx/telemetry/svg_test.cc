#include "phalanx/telemetry/svg.h"
#include <gtest/gtest.h>
