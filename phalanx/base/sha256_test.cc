#include "phalanx/base/sha256.h"

#include <gtest/gtest.h>

namespace phalanx {
namespace {

// The example messages of NIST for FIPS 180-4 (one block, two blocks, a million letters) and the empty one; the digests
// are those of sha256sum.
TEST(Sha256, ExampleMessages) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesOfAnySizeAndEveryPlaceInABlock) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += static_cast<char>(i * 37);
  for (size_t size = 0; size <= text.size(); ++size) {
    const std::string message = text.substr(0, size);
    const std::string whole = sha256_hex(message);
    for (const size_t piece : {1u, 7u, 63u, 64u, 65u}) {
      Sha256 digest;
      for (size_t at = 0; at < size; at += piece) digest.update(message.substr(at, piece));
      ASSERT_EQ(digest.hex(), whole) << size << " bytes in pieces of " << piece;
    }
  }
  // Both sides of the length at which the padding takes a block more; digests of sha256sum.
  EXPECT_EQ(sha256_hex(std::string(55, 'a')),
            "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
  EXPECT_EQ(sha256_hex(std::string(56, 'a')),
            "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a");
  EXPECT_EQ(sha256_hex(std::string(64, 'a')),
            "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
}

TEST(Sha256DeathTest, NothingComesAfterTheDigest) {
  Sha256 digest;
  digest.hex();
  EXPECT_DEATH(digest.update("x"), "asked for already");
}

}  // namespace
}  // namespace phalanx
