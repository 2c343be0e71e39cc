# Warnings, ccache, sanitizers, third-party packages of the distribution.
# restrict and stringop-overflow: g++ 12 warns wrongly inside the standard library.
add_compile_options(-fPIC -Wall -Wextra -Wno-missing-field-initializers -Wno-restrict -Wno-stringop-overflow -Werror -ffp-contract=off)

find_program(PHALANX_CCACHE ccache)
if(PHALANX_CCACHE)
  # The sloppiness lets objects that use the precompiled header be cached.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${PHALANX_CCACHE})
  add_compile_options(-fpch-preprocess)
endif()


if(PHALANX_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=address,undefined)
elseif(PHALANX_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread -g1)
  add_link_options(-fsanitize=thread)
endif()

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(tomlplusplus REQUIRED)
if(PHALANX_TESTS)
  find_package(GTest REQUIRED)
  find_package(benchmark REQUIRED)
endif()
